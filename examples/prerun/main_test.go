package main

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	const revision = "5a40d42a59b3d7ed1e3cd0b5e2b8a3d3a4f3a1c2"
	build := func(version string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	for _, tt := range []struct {
		name string
		info *debug.BuildInfo
		ok   bool
		want string
	}{
		{"no information", nil, false, "devel"},
		{"no version", build(""), true, "devel"},
		{"work in progress", build("(devel)", "GOOS", "linux"), true, "devel"},
		{"installed", build("v0.3.1"), true, "v0.3.1"},
		{"a checkout", build("(devel)", "vcs.revision", revision, "vcs.modified", "false"), true, "devel (" + revision + ")"},
		{"a changed checkout", build("v0.3.2-0.20261101", "vcs.revision", revision, "vcs.modified", "true"), true, "v0.3.2-0.20261101 (" + revision + ", modified)"},
	} {
		if got := version(tt.info, tt.ok); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
