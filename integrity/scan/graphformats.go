package scan

// graphFormats are the formats that hold a graph of operators in a flat buffer
// or a protocol buffer of their own.
func graphFormats() []Format { return nil }
