package pickle

import (
	"context"
	"io"
)

// ScanStepwise is Scan without bursts.
func (c Machine) ScanStepwise(ctx context.Context, r io.ReaderAt, size int64) (*Trace, error) {
	m := c.machine(ctx, r, size)
	m.stepwise = true
	return m.scan()
}
