// Command readpickle scans files on one core, without their digests, and prints
// of each the seconds of processor time and of wall time.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/prerun/prerun/integrity/scan"
)

func main() {
	runtime.GOMAXPROCS(1)
	for _, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		cpu, wall := processor(), time.Now()
		res, err := scan.Scanner{NoDigests: true}.ScanFile(context.Background(), name, bytes.NewReader(data), int64(len(data)))
		if err != nil {
			log.Fatal(err)
		}
		if f := res.Files[0]; f.Verdict != scan.Clean || f.Completeness != scan.Complete {
			log.Fatalf("%s: %v, %v", name, f.Verdict, f.Completeness)
		}
		fmt.Println((processor() - cpu).Seconds(), time.Since(wall).Seconds())
	}
}

// processor is the time of the processor that this process took.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
