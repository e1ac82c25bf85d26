package scan

// tabularFormats are the formats of models of tables and of statistics
// environments, and those of older libraries.
func tabularFormats() []Format {
	return []Format{
		xgboostFormat{},
		lightgbmFormat{},
		catboostFormat{},
		pmmlFormat{},
		skopsFormat{},
		skopsSchemaFormat{},
		skopsBytesFormat{},
		rFormat{},
		torch7Format{},
		ggmlFormat{},
	}
}
