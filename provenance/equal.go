package provenance

import (
	"strconv"
	"strings"

	"github.com/prerun/prerun/internal/strictjson"
)

// equal compares two JSON trees: objects without regard to order, numbers by
// value and exactly, so that 1e-3 is 0.001 and 2^53+1 is not 2^53.
func equal(a, b *strictjson.Value) bool {
	if a.Kind != b.Kind || len(a.Items) != len(b.Items) || len(a.Members) != len(b.Members) {
		return false
	}
	switch a.Kind {
	case strictjson.Number:
		return number(a.Text) == number(b.Text)
	case strictjson.Array:
		for i := range a.Items {
			if !equal(&a.Items[i], &b.Items[i]) {
				return false
			}
		}
		return true
	case strictjson.Object:
		other := make(map[string]*strictjson.Value, len(b.Members))
		for i := range b.Members {
			other[b.Members[i].Name] = &b.Members[i].Value
		}
		for i := range a.Members {
			v := other[a.Members[i].Name]
			if v == nil || !equal(&a.Members[i].Value, v) {
				return false
			}
		}
		return true
	}
	return a.Text == b.Text
}

// number is the normal form of a JSON number: sign, digits without outer zeros,
// and the power of ten that they count. An exponent beyond 32 bits stays as
// written, so that nobody makes us compute with it.
func number(text string) string {
	rest, negative := strings.CutPrefix(text, "-")
	mantissa, exponent := rest, "0"
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		mantissa, exponent = rest[:i], rest[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	power, err := strconv.ParseInt(exponent, 10, 32)
	if err != nil {
		return text
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	trimmed := strings.TrimRight(digits, "0")
	power += int64(len(digits) - len(trimmed) - len(fraction))
	sign := ""
	if negative {
		sign = "-"
	}
	return sign + trimmed + "e" + strconv.FormatInt(power, 10)
}
