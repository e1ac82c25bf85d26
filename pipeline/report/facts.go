package report

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// How much of the facts a page shows.
const (
	factValues = 6000 // in all
	factRows   = 60   // of one list
	factDepth  = 12
)

// A fact is a JSON value as the page shows it: a text, members, a list, or a
// list of equals as a table.
type fact struct {
	Text    string
	Members []member
	Items   []fact
	Columns []string
	Rows    [][]string
	Numeric []bool // by column
	More    int    // items that are not shown
}

type member struct {
	Name  string
	Value fact
}

// Flat reports whether the value is one line of text.
func (f fact) Flat() bool {
	return f.Members == nil && f.Items == nil && f.Columns == nil
}

// facts fills the page's figures. A fact that holds nothing but objects, such
// as a gate's figures by check, gives one entry for each of them.
func (p *page) facts(doc Document) error {
	r := &factReader{left: factValues}
	all, err := r.read(doc.Facts)
	if err != nil {
		return err
	}
	for _, m := range all.Members {
		switch {
		case m.Value.Flat() && sentence(m.Value.Text) == p.Reason: // stands at the top
		case m.Value.Flat():
			p.Facts = append(p.Facts, m)
		case m.Value.nests():
			p.Figures = append(p.Figures, m.Value.Members...)
		default:
			p.Figures = append(p.Figures, m)
		}
	}
	stats, err := r.read(doc.Stats)
	if err != nil {
		return err
	}
	p.Stats = stats.Members
	return nil
}

func (f fact) nests() bool {
	return len(f.Members) > 0 && !slices.ContainsFunc(f.Members, func(m member) bool { return m.Value.Members == nil })
}

type factReader struct {
	dec  *json.Decoder
	left int
}

// read goes through JSON, so that a page names a figure as the envelope does,
// with the members of a struct in their own order.
func (r *factReader) read(values map[string]any) (fact, error) {
	var out fact
	for _, name := range slices.Sorted(maps.Keys(values)) {
		raw, err := json.Marshal(values[name])
		if err != nil {
			return fact{}, err
		}
		r.dec = json.NewDecoder(bytes.NewReader(raw))
		r.dec.UseNumber()
		v, err := r.value(0)
		if err != nil {
			return fact{}, err
		}
		out.Members = append(out.Members, member{factName(name), v})
	}
	return out, nil
}

// factName is a member's name as words, unless it is an identifier.
func factName(s string) string {
	s = clean(s)
	if strings.ContainsAny(s, "./:") {
		return s
	}
	return strings.ReplaceAll(s, "_", " ")
}

func (r *factReader) value(depth int) (fact, error) {
	token, err := r.dec.Token()
	if err != nil {
		return fact{}, err
	}
	r.left--
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(depth)
		}
		return r.list(depth)
	case bool:
		if t {
			return fact{Text: "yes"}, nil
		}
		return fact{Text: "no"}, nil
	case json.Number:
		return fact{Text: shorten(t)}, nil
	case string:
		return fact{Text: clean(t)}, nil
	}
	return fact{}, nil // null
}

// shorten leaves integers alone and gives other numbers five digits.
func shorten(n json.Number) string {
	if _, err := n.Int64(); err == nil {
		return n.String()
	}
	v, err := n.Float64()
	if err != nil {
		return clean(n.String())
	}
	return figure(v, 5)
}

func (r *factReader) object(depth int) (fact, error) {
	out := fact{Members: []member{}}
	for r.dec.More() {
		name, err := r.dec.Token()
		if err != nil {
			return fact{}, err
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return fact{}, err
		}
		if r.left < 0 || depth >= factDepth {
			out.More++
			continue
		}
		text, _ := name.(string)
		out.Members = append(out.Members, member{factName(text), v})
	}
	_, err := r.dec.Token()
	return out, err
}

func (r *factReader) list(depth int) (fact, error) {
	out := fact{Items: []fact{}}
	for r.dec.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return fact{}, err
		}
		if r.left < 0 || depth >= factDepth || len(out.Items) >= factRows {
			out.More++
			continue
		}
		out.Items = append(out.Items, v)
	}
	if _, err := r.dec.Token(); err != nil {
		return fact{}, err
	}
	out.line()
	out.table()
	return out, nil
}

// line makes one text of a short list of texts.
func (f *fact) line() {
	texts := make([]string, len(f.Items))
	n := 0
	for i, item := range f.Items {
		if !item.Flat() {
			return
		}
		texts[i] = item.Text
		n += len(item.Text)
	}
	if len(texts) == 0 && f.More == 0 {
		*f = fact{Text: "none"}
	} else if n <= 240 && f.More == 0 {
		*f = fact{Text: strings.Join(texts, ", ")}
	}
}

// table turns a list of objects that hold only texts into columns, in order of
// first appearance.
func (f *fact) table() {
	if len(f.Items) == 0 {
		return
	}
	var columns []string
	at := make(map[string]int)
	for _, item := range f.Items {
		if item.Members == nil || item.More > 0 {
			return
		}
		for _, m := range item.Members {
			if !m.Value.Flat() {
				return
			}
			if _, known := at[m.Name]; !known {
				at[m.Name] = len(columns)
				columns = append(columns, m.Name)
			}
		}
	}
	if len(columns) == 0 {
		return
	}
	numeric := slices.Repeat([]bool{true}, len(columns))
	rows := make([][]string, len(f.Items))
	for i, item := range f.Items {
		rows[i] = make([]string, len(columns))
		for _, m := range item.Members {
			rows[i][at[m.Name]] = m.Value.Text
			numeric[at[m.Name]] = numeric[at[m.Name]] && isNumber(m.Value.Text)
		}
	}
	*f = fact{Columns: columns, Rows: rows, Numeric: numeric, More: f.More}
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789.-+e") == "" && strings.ContainsAny(s[:min(2, len(s))], "0123456789")
}
