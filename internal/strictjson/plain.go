package strictjson

import (
	"errors"
	"unicode/utf8"
)

// Plain checks a text as [Parse] does and makes no tree of it. Names and strings
// are shown to tells, without their escapes and valid until it returns; where
// it reports one, the text is not plain and the rest of it was not looked at.
func Plain(data []byte, lim Limits, tells func(text []byte) bool) (plain bool, err error) {
	p := &parser{tells: tells}
	switch err := p.parsed(data, lim, func() error { return p.check(0) }); {
	case errors.Is(err, errTold):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

var errTold = errors.New("told")

// check is value for a value that is not kept.
func (p *parser) check(depth int) error {
	if err := p.room(depth); err != nil {
		return err
	}
	switch p.data[p.pos] {
	case '{':
		return p.checkObject(depth)
	case '[':
		return p.checkArray(depth)
	case '"':
		_, err := p.shown()
		return err
	}
	_, err := p.scalar()
	return err
}

func (p *parser) checkObject(depth int) error {
	p.pos++
	var seen []slot
	p.space()
	if p.peek() == '}' {
		p.pos++
		return nil
	}
	from := len(p.given)
	defer func() { p.given = p.given[:from] }()
	for {
		if p.peek() != '"' {
			return p.errorf("expected a member name")
		}
		at := p.pos
		text, err := p.shown()
		if err != nil {
			return err
		}
		if err := p.named(from, &seen, at, string(text)); err != nil {
			return err
		}
		if err := p.check(depth + 1); err != nil {
			return err
		}
		if more, err := p.next('}'); err != nil || !more {
			return err
		}
	}
}

func (p *parser) checkArray(depth int) error {
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return nil
	}
	for {
		if err := p.check(depth + 1); err != nil {
			return err
		}
		if more, err := p.next(']'); err != nil || !more {
			return err
		}
	}
}

// shown is string for one that is not kept.
func (p *parser) shown() ([]byte, error) {
	start := p.pos + 1
	i := start
	for i < len(p.data) && p.data[i] != '"' && p.data[i] != '\\' && p.data[i] >= 0x20 {
		i++
	}
	var text []byte
	if i < len(p.data) && p.data[i] == '"' && utf8.Valid(p.data[start:i]) {
		p.pos = i + 1
		text = p.data[start:i]
	} else {
		s, err := p.string()
		if err != nil {
			return nil, err
		}
		text = []byte(s)
	}
	if p.tells(text) {
		return nil, errTold
	}
	return text, nil
}
