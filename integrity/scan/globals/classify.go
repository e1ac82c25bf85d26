package globals

import (
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/prerun/prerun/internal/pickle"
)

// A Class is what a text in arguments looks like.
type Class string

// Classes, in the order in which [Classify] returns them.
const (
	Shell   Class = "shell"   // a command line
	URL     Class = "url"     // or an IP address
	Path    Class = "path"    // absolute, home or parent path
	Source  Class = "source"  // Python source
	Encoded Class = "encoded" // long base64 or hexadecimal text
	Payload Class = "pickle"  // a pickle, as it stands or encoded
)

// maxText is how much of a text is looked at.
const maxText = 16 << 10

// Classify says what a text looks like: a shell command, an address, a path,
// Python source, encoded data, a pickle. It errs on the side of saying too
// much; it is for texts handed to a call that is suspicious already.
func Classify(text string) []Class {
	text = text[:min(len(text), maxText)]
	var classes []Class
	for _, c := range [...]struct {
		class Class
		is    func(string) bool
	}{{Shell, isShell}, {URL, isURL}, {Path, isPath}, {Source, isSource}, {Encoded, isEncoded}, {Payload, isPayload}} {
		if c.is(text) {
			classes = append(classes, c.class)
		}
	}
	return classes
}

// commands start a command line whatever follows; words do so when what follows
// looks like an option, a path or a redirection. Those in alone need nothing.
var (
	commands = set(`sh bash zsh dash ksh csh cmd cmd.exe powershell powershell.exe pwsh curl wget nc ncat
		netcat python python3 perl ruby php echo ls rm cp mv chmod chown touch whoami uname sudo su ssh
		scp ftp xxd dd mkfifo nohup crontab ping nslookup dig printenv awk sed grep mkdir ifconfig pip pip3
		npm apt apt-get yum systemctl certutil bitsadmin mshta rundll32 regsvr32 wmic tasklist base64`)
	words = set(`cat tar open env export tee find head tail ps ip git service eval exec source reg net start
		dir type del copy move id kill host node`)
	alone = set(`whoami uname ls sh bash calc calc.exe xcalc gnome-calculator cmd.exe powershell
		powershell.exe ifconfig`)
)

func isShell(s string) bool {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return false
	}
	word := strings.ToLower(fields[0][strings.LastIndexAny(fields[0], `/\`)+1:])
	switch {
	case alone[word], commands[word] && len(fields) > 1:
		return true
	case words[word]:
		for _, f := range fields[1:] {
			if strings.ContainsAny(f, `-/.~"'$<>|&;`) {
				return true
			}
		}
	}
	for _, mark := range [...]string{
		"$(", "`", " && ", " || ", " | ", "|sh", "|bash", "; rm ", ";rm ", "/bin/", ">/dev/", "2>&1", "/dev/tcp/", "${IFS}", "%COMSPEC%",
	} {
		if strings.Contains(s, mark) {
			return true
		}
	}
	return false
}

func isURL(s string) bool {
	lower := strings.ToLower(s)
	for i := strings.Index(lower, "://"); i > 0; {
		k := i
		for k > 0 && (lower[k-1] >= 'a' && lower[k-1] <= 'z' || lower[k-1] >= '0' && lower[k-1] <= '9' || strings.IndexByte("+-.", lower[k-1]) >= 0) {
			k--
		}
		if i-k >= 2 {
			return true
		}
		next := strings.Index(lower[i+3:], "://")
		if next < 0 {
			break
		}
		i += 3 + next
	}
	if strings.HasPrefix(lower, "data:") && strings.Contains(lower, ",") || strings.HasPrefix(lower, "www.") {
		return true
	}
	host := strings.TrimSpace(s)
	if _, err := netip.ParseAddrPort(host); err == nil {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && !addr.IsUnspecified() && strings.Count(host, ":") != 1
}

func isPath(s string) bool {
	if len(s) > 4096 || strings.ContainsAny(s, "\n\x00") {
		return false
	}
	switch {
	case len(s) > 2 && s[0] == '/' && s[1] != '/' && s[1] != ' ':
		return true
	case strings.HasPrefix(s, "~/"), strings.HasPrefix(s, `\\`), strings.Contains(s, "../"), strings.Contains(s, `..\`):
		return true
	case len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') && s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z':
		return true
	}
	return false
}

func isSource(s string) bool {
	for _, mark := range [...]string{
		"__import__", "exec(", "eval(", "compile(", "os.system", "subprocess.", "open(", "print(", "getattr(",
		"__builtins__", "__class__", "__subclasses__", "__globals__", "socket.socket", "importlib", "lambda:", "globals()", "breakpoint()",
	} {
		if strings.Contains(s, mark) {
			return true
		}
	}
	for line := range strings.SplitSeq(s, "\n") {
		for stmt := range strings.SplitSeq(line, ";") {
			f := strings.Fields(stmt)
			if len(f) < 2 {
				continue
			}
			switch {
			case f[0] == "import" && identifier(strings.TrimRight(f[1], ",")):
				return true
			case f[0] == "from" && len(f) >= 4 && f[2] == "import" && identifier(f[1]):
				return true
			case f[0] == "def" && strings.Contains(stmt, "(") && strings.Contains(stmt, ":"),
				f[0] == "class" && strings.HasSuffix(strings.TrimSpace(stmt), ":"),
				f[0] == "lambda" && strings.Contains(stmt, ":"):
				return true
			}
		}
	}
	return false
}

func identifier(s string) bool {
	for i, r := range s {
		if r != '_' && r != '.' && (r|0x20 < 'a' || r|0x20 > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// encodedMin is the length from which on unbroken base64 or hexadecimal text is
// more than a digest: sha512 has 128 hexadecimal digits.
const encodedMin = 60

func isEncoded(s string) bool {
	s = strings.TrimSpace(s)
	if len(s) < encodedMin {
		return false
	}
	if _, err := hex.DecodeString(s); err == nil {
		return len(s) != 64 && len(s) != 96 && len(s) != 128
	}
	s = strings.NewReplacer("\n", "", "\r", "").Replace(s)
	if !strings.ContainsAny(s, "0123456789+/=-_") || !strings.ContainsAny(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") ||
		!strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") {
		return false
	}
	s = strings.TrimRight(s, "=")
	s = s[:len(s)&^3]
	if _, err := base64.RawStdEncoding.DecodeString(s); err == nil {
		return true
	}
	_, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil
}

func isPayload(s string) bool {
	_, ok := pickle.SniffNested([]byte(s))
	return ok
}
