package integrity

// What the fuzz targets and the limits of tests need of the inside.
var (
	SplitShard     = splitShard
	JoinShard      = joinShard
	ParseStatement = func(payload []byte, strict, legacy bool) (*Manifest, error) {
		s, err := parseStatement(payload, strict, legacy)
		if err != nil {
			return nil, err
		}
		return s.manifest, nil
	}
)

const RoundSize = roundSize
