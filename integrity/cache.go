package integrity

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/limits"
)

// An Identity tells one state of one file from every other.
type Identity struct {
	Key     string    // equal only for equal content, as far as the system says
	Changed time.Time // when the content last changed, at the latest
}

// A fileState is what the operating system says of a file: device, inode, and
// the times of modification and change, each in seconds and nanoseconds.
type fileState [6]int64

// SystemIdentity is the identity that the operating system gives a file. It is
// false for files that are not the operating system's, such as those of an
// archive, and on systems other than Linux and macOS.
func SystemIdentity(info fs.FileInfo) (Identity, bool) {
	s, ok := systemState(info)
	if !ok {
		return Identity{}, false
	}
	return Identity{fmt.Sprint(s), time.Unix(s[4], s[5])}, true
}

// A Cache remembers the digests of files, so that hashing a model again reads
// only the files that changed. It is safe for concurrent use, by several
// hashers too. The zero value is empty and ready.
//
// A digest counts for a file only if the file's identity is the same: on Linux
// and macOS its device, inode, size, time of modification and time of change.
// The last cannot be set by programs, so content that was exchanged under
// restored times is read again. Elsewhere, and on file systems that are not the
// operating system's, every file is read. What the cache cannot see: writing
// to the raw device, a clock that was turned back, and a file system that keeps
// no times. Whoever can write to a stored cache decides what is in the model.
type Cache struct {
	// Identify tells files apart; false means that it cannot. Nil means
	// [SystemIdentity].
	Identify func(fs.FileInfo) (Identity, bool)

	Now func() time.Time // nil means time.Now

	mu      sync.Mutex
	entries map[string]cacheEntry
}

type cacheEntry struct {
	digests []digest.Digest
	used    bool
}

// settled is how old a change must be before the file's state is remembered: a
// second change within the same tick of the file system's clock would not show.
const settled = 2 * time.Second

func (c *Cache) identify(info fs.FileInfo) (Identity, bool) {
	if c.Identify != nil {
		return c.Identify(info)
	}
	return SystemIdentity(info)
}

// key is what a file is remembered under: the digests depend on parameters.
func (c *Cache) key(info fs.FileInfo, p Parameters) (key string, changed time.Time, ok bool) {
	id, ok := c.identify(info)
	if !ok {
		return "", time.Time{}, false
	}
	return fmt.Sprintf("%s %d %d %q", p.Algorithm, p.ShardSize, info.Size(), id.Key), id.Changed, true
}

// fill sets the digests of a file from the cache, if it has them.
func (c *Cache) fill(info fs.FileInfo, p Parameters, resources []Resource) bool {
	key, _, ok := c.key(info, p)
	if !ok {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || len(e.digests) != len(resources) {
		return false
	}
	for i := range resources {
		resources[i].Digest = e.digests[i]
	}
	e.used = true
	c.entries[key] = e
	return true
}

// keep remembers a file that was read, if it looked settled when listed.
func (c *Cache) keep(info fs.FileInfo, p Parameters, resources []Resource) {
	key, changed, ok := c.key(info, p)
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	if !ok || now().Sub(changed) < settled {
		return
	}
	e := cacheEntry{used: true}
	for _, r := range resources {
		e.digests = append(e.digests, r.Digest)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[string]cacheEntry)
	}
	c.entries[key] = e
}

// maxCache bounds a stored cache, in bytes: far above a million files.
const maxCache = 512 << 20

const cacheHeader = "prerun hash cache 1"

// Store writes what was remembered or used since the cache was made or loaded,
// in a fixed order; what no file asked for any more is left out.
func (c *Cache) Store(w io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, cacheHeader)
	for _, key := range sortedKeys(c.entries) {
		e := c.entries[key]
		if !e.used {
			continue
		}
		out.WriteString(key)
		for _, d := range e.digests {
			out.WriteString("\t" + string(d))
		}
		out.WriteByte('\n')
	}
	return out.Flush() // holds the first error of all
}

// Load adds what [Cache.Store] wrote. Anything else is an error, and adds
// nothing.
func (c *Cache) Load(r io.Reader) error {
	in := bufio.NewScanner(io.LimitReader(r, maxCache+1))
	in.Buffer(nil, maxCache)
	entries := make(map[string]cacheEntry)
	read, line := 0, 0
	for in.Scan() {
		line++
		if read += len(in.Bytes()) + 1; read > maxCache {
			return fmt.Errorf("hash cache: %w", &limits.Error{Unit: "bytes", Max: maxCache})
		}
		if line == 1 {
			if in.Text() != cacheHeader {
				return fmt.Errorf("hash cache: line 1 is %.40q, want %q", in.Text(), cacheHeader)
			}
			continue
		}
		key, rest, _ := strings.Cut(in.Text(), "\t")
		var e cacheEntry
		for text := range strings.SplitSeq(rest, "\t") {
			d := digest.Digest(text)
			if alg, ok := algorithms[digestx.Algorithm(d)]; !ok || !isHex(digestx.Hex(d), alg.size) {
				return fmt.Errorf("hash cache: line %d: digest %.200q", line, text)
			}
			e.digests = append(e.digests, d)
		}
		entries[key] = e
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("hash cache: %w", err)
	}
	if line == 0 {
		return fmt.Errorf("hash cache: %w", io.ErrUnexpectedEOF)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = entries
		return nil
	}
	for key, e := range entries {
		if _, ok := c.entries[key]; !ok {
			c.entries[key] = e
		}
	}
	return nil
}
