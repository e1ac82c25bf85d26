package scan

import "slices"

// Builtin lists the formats of this package, in the order in which they run. A
// caller may add to the list, replace or remove from it.
func Builtin() []Format {
	return slices.Concat(
		[]Format{
			pickleFormat{},
			zipFormat{},
			torchFormat{},
			torchserveFormat{},
			storageFormat{},
			tarFormat{},
			tarModelFormat{},
			sevenzipFormat{},
			safetensorsFormat{},
			npyFormat{},
			onnxFormat{},
			tensorflowFormat{},
			ggufFormat{},
			textFormat{},
			configFormat{},
			kerasFormat{},
			kerasArchiveFormat{},
			hdf5Format{},
			jinjaFormat{},
			pythonFormat{},
			torchscriptFormat{},
			yamlFormat{},
			mlflowModuleFormat{},
		},
		graphFormats(),
		tabularFormats(),
		frameworkFormats(),
		compressedFormats(),
		[]Format{opaqueFormat{}},
	)
}
