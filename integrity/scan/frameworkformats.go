package scan

// frameworkFormats are the formats of single frameworks that stand for
// themselves.
func frameworkFormats() []Format {
	return []Format{
		msgpackFormat{},
		orbaxFormat{},
		ocdbtFormat{},
		chunkFormat{},
		llamafileFormat{},
		serveManifestFormat{},
	}
}
