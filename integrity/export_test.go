package integrity

import "context"

// What the fuzz targets and the limits of tests need of the inside.
var (
	SplitShard     = splitShard
	JoinShard      = joinShard
	ParseStatement = func(payload []byte, strict, legacy bool) (*Manifest, error) {
		s, err := parseStatement(context.Background(), payload, strict, legacy)
		if err != nil {
			return nil, err
		}
		return s.manifest, nil
	}
)

const AheadSize = aheadSize
