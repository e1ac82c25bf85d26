// Command hashing measures how fast models are hashed, signed and verified,
// beside the Python tool and the bare hash functions. ../hash.sh runs it and
// says what it needs; ../hashing.md has results.
//
// Every contestant is a process of its own, and those that are compared take
// turns, so that a busy machine slows all of them. Figures are medians. Time is
// that of the work itself, without starting the process, unless a case says
// otherwise; processor time and peak memory are those of the whole process.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		err = work(os.Args[2:])
	} else {
		err = run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(ctx context.Context) error {
	dir := flag.String("dir", "", "`folder` for the models; they are made once and kept")
	python := flag.String("python", "", "Python `program` that has model-signing")
	prerun := flag.String("prerun", "", "the prerun `program`")
	size := flag.Int64("size", 4<<30, "`bytes` of a large model")
	runs := flag.Int("runs", 5, "measurements of each contestant")
	only := flag.String("only", "", "`pattern` of the groups to run")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := bench{dir: *dir, self: self, python: *python, prerun: *prerun, size: *size}
	if err := b.makeModels(); err != nil {
		return err
	}
	fmt.Printf("%s, %s/%s, %d cores, %s, load %s\n", time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor(), load())
	for _, g := range b.groups() {
		if !pattern.MatchString(g.name) {
			continue
		}
		if err := g.measure(ctx, *runs); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}

// A group is contestants that are compared with the first of them, and where
// they say so with another one too.
type group struct {
	name  string
	bytes int64
	cases []contestant
}

type contestant struct {
	name    string
	args    []string
	env     []string
	whole   bool // the time includes the start of the process
	against string
}

type sample struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

func (g *group) measure(ctx context.Context, runs int) error {
	samples := make([][]sample, len(g.cases))
	for range runs {
		for i, c := range g.cases {
			s, err := c.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	fmt.Printf("\n### %s\n\n| contestant | time | GB/s | GB per CPU-second | times the first: by time | by CPU-second | peak MiB |\n|---|--:|--:|--:|--:|--:|--:|\n", g.name)
	best := make(map[string]sample)
	for i, c := range g.cases {
		best[c.name] = medians(samples[i])
	}
	for _, c := range g.cases {
		s, first := best[c.name], best[g.cases[0].name]
		gb := float64(g.bytes) / 1e9
		note := ""
		if other, ok := best[c.against]; ok {
			note = fmt.Sprintf("; %.2f times *%s*", ratio(other.wall, s.wall), c.against)
		}
		fmt.Printf("| %s | %.3f s | %.2f | %.2f | %.2f%s | %.2f | %d |\n", c.name, s.wall.Seconds(), gb/s.wall.Seconds(), gb/s.cpu.Seconds(),
			ratio(first.wall, s.wall), note, ratio(first.cpu, s.cpu), s.peak>>20)
	}
	return nil
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func medians(samples []sample) sample {
	median := func(less func(a, b sample) int) sample {
		sorted := slices.SortedFunc(slices.Values(samples), less)
		return sorted[len(sorted)/2]
	}
	return sample{
		wall: median(func(a, b sample) int { return cmp.Compare(a.wall, b.wall) }).wall,
		cpu:  median(func(a, b sample) int { return cmp.Compare(a.cpu, b.cpu) }).cpu,
		peak: median(func(a, b sample) int { return cmp.Compare(a.peak, b.peak) }).peak,
	}
}

// run starts the contestant. Its last line is the seconds that the work took,
// unless the whole process counts.
func (c *contestant) run(ctx context.Context) (sample, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	start := time.Now()
	out, err := cmd.Output()
	s := sample{wall: time.Since(start)}
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return s, err
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.peak = int64(usage.Maxrss) << 10
	if !c.whole {
		lines := strings.Fields(string(out))
		seconds, err := strconv.ParseFloat(lines[len(lines)-1], 64)
		if err != nil {
			return s, err
		}
		s.wall = time.Duration(seconds * float64(time.Second))
	}
	return s, nil
}

func processor() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "processor unknown"
}

func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func join(elem ...string) string { return filepath.Join(elem...) }
