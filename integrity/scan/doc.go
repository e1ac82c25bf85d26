// Package scan reads model files without loading them and reports what loading
// them would do.
//
// It decides two things about every file, and keeps them apart. The [Verdict]
// says what was found: clean, suspicious (a finding of medium severity),
// malicious (high or critical), or unknown. The [Completeness] says how much
// was looked at: complete, inconclusive (a budget ran out, an entry is
// encrypted, a codec is missing) or error (unreadable or malformed). Only a
// file that was recognised and read to its end is clean: could not parse,
// could not decrypt and ran out of budget are gaps, never clean.
//
// It does not say that the weights behave; package weights and package
// validate ask that. Nothing is executed, unpickled, rendered or extracted to
// disk, and there is no network.
//
// # How a file is read
//
// Content decides and the name is only a hint. Every [Format] that recognises
// a file runs, because a loader may read one format where another scanner sees
// the next (polyglots). What a format finds inside is handed back to the
// engine by [Sink.Child] and routed again under its nested path, such as
// "model.zip!/archive/data.pkl". Formats claim the byte ranges they understand
// with [Sink.Claim]; executables, pickles and archives are searched for only
// in ranges that nobody claimed, because weights are random enough to hold any
// short magic number.
//
// FORMATS.md beside this file lists the formats, what is checked of each, and
// what is not; RULES.md lists the rules with an example each, TECHNIQUES.md the
// ways to hide a call in a pickle that are known to be found.
//
// Of a graph of operators (ONNX, TensorFlow, TFLite, ExecuTorch, Core ML,
// OpenVINO, PaddlePaddle, MXNet, CNTK) it is read which operators it has and
// which files it names; what an operator computes is not interpreted. Operators
// that reach for files, Python or native code are findings, operators that only
// foreign code brings are too. Where operators cannot be read, in compiled
// engines (TensorRT, RKNN) and in data for accelerators, that is a gap or stated
// by the format.
//
// # Threat model and limits
//
// The author of the file is the attacker and knows this package. One budget
// ([Limits]) is shared by a file and everything nested in it: bytes read or
// decoded, entries, depth, pickle opcodes, memory for decoded data, and wall
// time. Running out is a gap. A panic inside a format is a gap too. Symbolic
// links are never followed: one that stays inside the scanned folder is a fact
// about a file that is scanned under its own name, any other is a finding.
//
// A Hugging Face cache is opened at the folder of a repository
// (models--org--name) or above it. Links of a snapshot may lead only into the
// blobs of that repository. Blobs are scanned under the names that snapshots
// give them, those without a name as they are, and each is compared with the
// hash that it is named by.
//
// Memory is bounded by about two times [Limits.Memory] for each worker, plus
// 128 MiB for the dictionaries of all xz, lzma and 7z streams that are open at
// once, plus what parsers state.
//
// Results are equal for any number of workers, except where the wall clock ran
// out. A file that nothing recognises has verdict unknown; that is a gap only
// when its name, or what lies beside it, makes it loadable, or when no file of
// the scan was recognised.
//
// # Use
//
//	root, err := os.OpenRoot(dir) // a link out of it cannot be followed
//	...
//	result, err := scan.Scanner{}.Scan(ctx, root.FS())
//	for _, file := range result.Files { ... }
//
// A [RuleSet] adds rules without a line of Go: names that pickles must not
// import, patterns in files, operators of graphs, as a file of JSON or YAML.
//
// With a [Cache], files that were scanned before cost their digest only.
//
// A [Result] is a [prerun.Source], so gates and reports take it as it is. A
// tool author adds a [Format] to [Builtin] and hands the list to [Scanner];
// package scantest checks such a format.
//
// COMPARISON.md has what other scanners say about the same files, ADVERSARY.md
// what loaders did with files made against this package.
package scan
