package build

// TorchLegacy is a file of torch.save before it wrote zip archives: five
// pickles and one storage of four floats.
func TorchLegacy(storage [16]byte) []byte {
	b := []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." +
		"\x80\x02M\xe9\x03." +
		"\x80\x02}q\x00(X\x10\x00\x00\x00protocol_versionq\x01M\xe9\x03X\x0d\x00\x00\x00little_endianq\x02\x88u.")
	b = append(b, TorchObject()...)
	b = append(b, "\x80\x02]q\x00X\x01\x00\x00\x000q\x01a."...)
	return append(append(b, 4, 0, 0, 0, 0, 0, 0, 0), storage[:]...)
}

// TorchObject is the pickle of a state dict with one tensor of four floats.
func TorchObject() []byte {
	return []byte("\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02" +
		"((X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x04Ntq\x07Q" +
		"K\x00K\x04\x85q\x08K\x01\x85q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.")
}
