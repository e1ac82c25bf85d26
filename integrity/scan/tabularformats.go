package scan

// tabularFormats are the formats of models of tables and of statistics
// environments.
func tabularFormats() []Format {
	return []Format{
		xgboostFormat{},
		rFormat{},
	}
}
