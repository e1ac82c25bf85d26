package globals

import (
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/prerun/prerun/internal/pickle"
)

// Grade looks one name up, as it is written and as Python 3 renames it. Low
// means that it is on no list.
func (p Policy) Grade(module, name string) Grade { return p.tables().grade(module, name) }

func (t *tables) grade(module, name string) Grade {
	g := t.exact(module, name)
	if m, n, ok := pickle.Renamed(module, name); ok {
		if r := t.exact(m, n); r.Level == Malicious || g.Level != Malicious && r.Level == Allowed {
			r.Reason = strings.TrimSpace(r.Reason + fmt.Sprintf(" (Python 3 name %q)", m+"."+n))
			return r
		}
	}
	return g
}

func (t *tables) exact(module, name string) Grade {
	if e, ok := t.deny.Names[[2]string{module, name}]; ok {
		return denied(e, "%q is on the deny list", module+"."+name)
	}
	if a, ok := t.allow[[2]string{module, name}]; ok {
		return Grade{Level: Allowed, Profile: a.profile, Need: a.need}
	}
	if e, m, ok := t.module(module); ok {
		return denied(e, "module %q is on the deny list", m)
	}
	// A dotted name is looked up attribute by attribute, so what it reaches may
	// have nothing to do with the module it starts from.
	parts := strings.Split(name, ".")
	for i, part := range parts {
		if e, ok := t.deny.Components[part]; ok {
			return denied(e, "attribute %q is on the deny list", part)
		}
		if i > 0 {
			if e, ok := t.deny.Names[[2]string{module, strings.Join(parts[:i], ".")}]; ok {
				return denied(e, "%q is on the deny list", module+"."+strings.Join(parts[:i], "."))
			}
			path := module + "." + strings.Join(parts[:i], ".")
			rest := strings.Join(parts[i:], ".")
			if e, m, ok := t.module(path); ok {
				return denied(e, "module %q is on the deny list", m)
			}
			if e, ok := t.deny.Names[[2]string{path, rest}]; ok {
				return denied(e, "%q is on the deny list", path+"."+rest)
			}
		}
	}
	if e, m, ok := t.module(module + "." + name); ok { // the module itself, as an attribute
		return denied(e, "module %q is on the deny list", m)
	}
	top, _, _ := strings.Cut(module, ".")
	if privateModules[top] || top == "__builtins__" {
		return denied(Private, "%q is a private module of the standard library", top)
	}
	for _, part := range parts {
		if strings.HasPrefix(part, "__") && strings.HasSuffix(part, "__") && len(part) > 4 {
			return Grade{Level: Suspicious, Effect: Inspect, Reason: fmt.Sprintf("attribute %q is not for pickles", part)}
		}
	}
	return Grade{Level: Low, Reason: "on no list"}
}

func denied(e Effect, format string, args ...any) Grade {
	return Grade{Level: Malicious, Effect: e, Reason: fmt.Sprintf(format, args...)}
}

// module finds the denied module that path is, or lies below.
func (t *tables) module(path string) (Effect, string, bool) {
	for {
		if e, ok := t.deny.Modules[path]; ok {
			return e, path, true
		}
		k := strings.LastIndexByte(path, '.')
		if k < 0 {
			return "", "", false
		}
		path = path[:k]
	}
}

// odd says why no import statement could have named this.
func (t *tables) odd(module, name string) (string, bool) {
	for _, s := range []string{module, name} {
		if s == "" {
			return "an empty name", true
		}
		for part := range strings.SplitSeq(s, ".") {
			if part == "" {
				return "an empty part", true
			}
		}
		for _, r := range s {
			if r <= ' ' || r == 0x7f {
				return fmt.Sprintf("character %q", r), true
			}
		}
	}
	if m, n := norm.NFKC.String(module), norm.NFKC.String(name); m != module || n != name {
		if g := t.grade(m, n); g.Level == Malicious {
			return fmt.Sprintf("looks like %q", m+"."+n), true
		}
		return "characters that only look like plain ones", true
	}
	return "", false
}

// privateModules are the modules of the standard library, Python 3.8 to 3.14,
// whose name starts with an underscore.
var privateModules = set(`_abc _aix_support _ast _asyncio _bisect _blake2 _bootlocale
	_bootsubprocess _bz2 _codecs _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp
	_codecs_kr _codecs_tw _collections _collections_abc _colorize _compat_pickle
	_compression _contextvars _crypt _csv _ctypes _curses _curses_panel _datetime
	_dbm _decimal _elementtree _frozen_importlib _frozen_importlib_external
	_functools _gdbm _hashlib _heapq _hmac _imp _interpchannels _interpqueues
	_interpreters _io _ios_support _json _locale _lsprof _lzma _markupbase _md5
	_msi _multibytecodec _multiprocessing _opcode _opcode_metadata _operator
	_osx_support _overlapped _pickle _posixshmem _posixsubprocess _py_abc
	_py_warnings _pydatetime _pydecimal _pyio _pylong _pyrepl _queue _random
	_remote_debugging _scproxy _sha1 _sha2 _sha256 _sha3 _sha512 _signal
	_sitebuiltins _socket _sqlite3 _sre _ssl _stat _statistics _string _strptime
	_struct _suggestions _symtable _sysconfig _thread _threading_local _tkinter
	_tokenize _tracemalloc _types _typing _uuid _warnings _weakref _weakrefset
	_winapi _wmi _zoneinfo _zstd`)

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}
