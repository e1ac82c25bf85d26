package strictjson

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Options of [Decode]. The zero value refuses unknown members.
type Options struct {
	AllowUnknown bool // ignore unknown members and return their JSON pointers
	Limits       Limits
}

// Unmarshal is [Parse] and [Decode] in one call.
func Unmarshal(data []byte, into any, opts Options) (ignored []string, err error) {
	v, err := Parse(data, opts.Limits)
	if err != nil {
		return nil, err
	}
	return Decode(v, into, opts)
}

// Decode fills the value that into points to. Struct fields match by their
// `json:"name"` tag, exactly; `json:"name,required"` makes absence an error.
// A member with a null value counts as present and leaves the field at its
// zero value only where the field is a pointer, slice, map or [Value];
// elsewhere it is an error. [time.Duration] is read from a string. The fields of
// an embedded struct without a tag count as the outer struct's own. It returns
// the JSON pointers of the members that it ignored.
func Decode(v *Value, into any, opts Options) (ignored []string, err error) {
	dst := reflect.ValueOf(into)
	if dst.Kind() != reflect.Pointer || dst.IsNil() {
		return nil, fmt.Errorf("strictjson: cannot decode into %T", into)
	}
	d := decoder{opts: opts}
	if err := d.decode(v, dst.Elem(), ""); err != nil {
		return nil, err
	}
	return d.ignored, nil
}

type decoder struct {
	opts    Options
	ignored []string
}

func (v *Value) errorf(ptr, format string, args ...any) error {
	if ptr == "" {
		ptr = "/"
	}
	return &Error{v.Offset, v.Line, v.Column, fmt.Sprintf("%s: %s", ptr, fmt.Sprintf(format, args...))}
}

var (
	valueType    = reflect.TypeFor[Value]()
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d *decoder) decode(v *Value, dst reflect.Value, ptr string) error {
	t := dst.Type()
	switch {
	case t == valueType:
		dst.Set(reflect.ValueOf(*v))
		return nil
	case t.Kind() == reflect.Pointer:
		if v.Kind == Null && t.Elem() != valueType {
			return nil
		}
		dst.Set(reflect.New(t.Elem()))
		return d.decode(v, dst.Elem(), ptr)
	case t == durationType:
		return decodeDuration(v, dst, ptr)
	case reflect.PointerTo(t).Implements(textType):
		if v.Kind != String {
			return v.errorf(ptr, "expected a string, found %s", v.Kind)
		}
		if err := dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(v.Text)); err != nil {
			return v.errorf(ptr, "%v", err)
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return d.object(v, dst, ptr)
	case reflect.Slice:
		return d.slice(v, dst, ptr)
	case reflect.Map:
		return d.mapping(v, dst, ptr)
	}
	return decodeScalar(v, dst, ptr)
}

func decodeDuration(v *Value, dst reflect.Value, ptr string) error {
	if v.Kind != String {
		return v.errorf(ptr, "expected a duration such as \"24h\", found %s", v.Kind)
	}
	span, err := time.ParseDuration(v.Text)
	if err != nil {
		return v.errorf(ptr, "%q is not a duration such as \"24h\"", v.Text)
	}
	dst.SetInt(int64(span))
	return nil
}

func decodeScalar(v *Value, dst reflect.Value, ptr string) error {
	want := Number
	switch dst.Kind() {
	case reflect.String:
		want = String
	case reflect.Bool:
		want = Bool
	}
	if v.Kind != want {
		return v.errorf(ptr, "expected a %s, found %s", want, v.Kind)
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(v.Text)
	case reflect.Bool:
		dst.SetBool(v.Text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(v.Text, 10, dst.Type().Bits())
		if err != nil {
			return v.errorf(ptr, "%s is not an integer of %d bits", v.Text, dst.Type().Bits())
		}
		dst.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(v.Text, 10, dst.Type().Bits())
		if err != nil {
			return v.errorf(ptr, "%s is not a natural number of %d bits", v.Text, dst.Type().Bits())
		}
		dst.SetUint(n)
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(v.Text, dst.Type().Bits())
		if err != nil || math.IsInf(x, 0) {
			return v.errorf(ptr, "%s is not a number of %d bits", v.Text, dst.Type().Bits())
		}
		dst.SetFloat(x)
	default:
		return v.errorf(ptr, "cannot decode into %s", dst.Type())
	}
	return nil
}

func (d *decoder) slice(v *Value, dst reflect.Value, ptr string) error {
	if v.Kind == Null {
		return nil
	}
	if v.Kind != Array {
		return v.errorf(ptr, "expected an array, found %s", v.Kind)
	}
	out := reflect.MakeSlice(dst.Type(), len(v.Items), len(v.Items))
	for i := range v.Items {
		if err := d.decode(&v.Items[i], out.Index(i), ptr+"/"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	dst.Set(out)
	return nil
}

func (d *decoder) mapping(v *Value, dst reflect.Value, ptr string) error {
	if v.Kind == Null {
		return nil
	}
	if v.Kind != Object {
		return v.errorf(ptr, "expected an object, found %s", v.Kind)
	}
	if dst.Type().Key().Kind() != reflect.String {
		return v.errorf(ptr, "cannot decode into %s", dst.Type())
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(v.Members))
	for i := range v.Members {
		m := &v.Members[i]
		elem := reflect.New(dst.Type().Elem()).Elem()
		if err := d.decode(&m.Value, elem, ptr+"/"+escapePointer(m.Name)); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(m.Name).Convert(dst.Type().Key()), elem)
	}
	dst.Set(out)
	return nil
}

func (d *decoder) object(v *Value, dst reflect.Value, ptr string) error {
	if v.Kind != Object {
		return v.errorf(ptr, "expected an object, found %s", v.Kind)
	}
	fields := fieldsOf(dst)
	for i := range v.Members {
		m := &v.Members[i]
		at := ptr + "/" + escapePointer(m.Name)
		if f, ok := fields[m.Name]; ok {
			if err := d.decode(&m.Value, f, at); err != nil {
				return err
			}
			continue
		}
		for name := range fields {
			if strings.EqualFold(name, m.Name) {
				return m.Value.errorf(at, "%q must be spelled %q", m.Name, name)
			}
		}
		if !d.opts.AllowUnknown {
			return m.Value.errorf(at, "unknown name %q", m.Name)
		}
		d.ignored = append(d.ignored, at)
	}
	return missing(v, dst, ptr)
}

func missing(v *Value, dst reflect.Value, ptr string) error {
	t := dst.Type()
	for i := range t.NumField() {
		name, required, embedded := tagOf(t.Field(i))
		if embedded {
			if err := missing(v, dst.Field(i), ptr); err != nil {
				return err
			}
		}
		if required && v.Get(name) == nil {
			return v.errorf(ptr, "%q is missing", name)
		}
	}
	return nil
}

func fieldsOf(dst reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value, dst.NumField())
	for i := range dst.NumField() {
		name, _, embedded := tagOf(dst.Type().Field(i))
		switch {
		case embedded:
			maps.Copy(fields, fieldsOf(dst.Field(i)))
		case name != "":
			fields[name] = dst.Field(i)
		}
	}
	return fields
}

// tagOf is the name under which a field is known; a field without a tag is not
// part of the schema, so that nothing is readable by accident.
func tagOf(f reflect.StructField) (name string, required, embedded bool) {
	tag, ok := f.Tag.Lookup("json")
	if !ok {
		return "", false, f.Anonymous && f.Type.Kind() == reflect.Struct
	}
	name, rest, _ := strings.Cut(tag, ",")
	if name == "-" {
		return "", false, false
	}
	for opt := range strings.SplitSeq(rest, ",") {
		required = required || opt == "required"
	}
	return name, required, false
}

// pointerEscaper writes a name as a JSON pointer's reference token (RFC 6901).
var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func escapePointer(s string) string { return pointerEscaper.Replace(s) }
