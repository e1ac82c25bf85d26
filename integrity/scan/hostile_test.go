package scan_test

func runHostileChild() bool { return false }
