package embedding_test

import (
	"cmp"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/prerun/prerun/internal/linalg"
)

// The tests of hubs need real text. Wherever they run there is some: the doc
// comments of Go's standard library. This file embeds its paragraphs by latent
// semantic analysis: TF-IDF, then the leading 64 singular vectors.

const lsaDim = 64

// paragraphs are those of at least 80 characters, once each, in a fixed order.
var paragraphs = sync.OnceValue(func() []string {
	src := filepath.Join(build.Default.GOROOT, "src")
	seen := map[string]bool{}
	_ = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // no source tree: the tests skip
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "vendor" || name == "cmd" || name == "runtime" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil
		}
		for _, decl := range file.Decls {
			var doc *ast.CommentGroup
			switch d := decl.(type) {
			case *ast.FuncDecl:
				doc = d.Doc
			case *ast.GenDecl:
				doc = d.Doc
			}
			if doc == nil {
				continue
			}
			for p := range strings.SplitSeq(doc.Text(), "\n\n") {
				if p = strings.Join(strings.Fields(p), " "); len(p) >= 80 {
					seen[p] = true
				}
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(seen))
})

func sampleText(tb testing.TB, seed uint64, n int) []string {
	tb.Helper()
	all := paragraphs()
	if len(all) < 2*n {
		tb.Skipf("%d paragraphs of documentation below %s", len(all), build.Default.GOROOT)
	}
	rng := rand.New(rand.NewPCG(seed, 42))
	out := make([]string, n)
	for i, j := range rng.Perm(len(all))[:n] {
		out[i] = all[j]
	}
	return out
}

// stopWords are frequent and say nothing about a topic.
var stopWords = strings.Fields("the of to in and is a an it that be for if this as are or with by on not from which at will can has its was but when than then any all one two no so may only must such into over each other these those there their they does do did have had been being were")

func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// An lsa is a fitted model: it embeds texts that it was not fitted on.
type lsa struct {
	vocabulary map[string]int
	idf        []float64
	axes       [][]float64 // vocabulary × dimension
}

// A sparse row is its entries in order of the word.
type sparse []entry

type entry struct {
	word  int
	value float64
}

// fitLSA returns the model and the unit vectors of the texts it was fitted on.
func fitLSA(texts []string, seed uint64) (*lsa, []float32) {
	frequency := map[string]int{}
	for _, t := range texts {
		once := map[string]bool{}
		for _, w := range words(t) {
			if len(w) > 1 && !slices.Contains(stopWords, w) && !once[w] {
				once[w] = true
				frequency[w]++
			}
		}
	}
	m := &lsa{vocabulary: map[string]int{}}
	for _, w := range slices.Sorted(maps.Keys(frequency)) {
		if f := frequency[w]; f >= 2 {
			m.vocabulary[w] = len(m.idf)
			m.idf = append(m.idf, math.Log(float64(1+len(texts))/float64(1+f))+1)
		}
	}
	rows := make([]sparse, len(texts))
	for i, t := range texts {
		rows[i] = m.tfidf(t)
	}
	// subspace iteration on XᵀX, then rotation to its eigenvectors
	rng := rand.New(rand.NewPCG(seed, 7))
	q := make([][]float64, lsaDim+10)
	for j := range q {
		q[j] = make([]float64, len(m.idf))
		for i := range q[j] {
			q[j][i] = rng.NormFloat64()
		}
	}
	for range 5 {
		orthonormalise(q)
		for j := range q {
			next := make([]float64, len(m.idf))
			for _, r := range rows {
				y := r.dot(q[j])
				for _, e := range r {
					next[e.word] += y * e.value
				}
			}
			q[j] = next
		}
	}
	orthonormalise(q)
	q = ritz(rows, q)[:lsaDim]
	m.axes = make([][]float64, len(m.idf))
	for w := range m.axes {
		m.axes[w] = make([]float64, lsaDim)
		for j := range q {
			m.axes[w][j] = q[j][w]
		}
	}
	return m, m.embed(texts)
}

func (m *lsa) tfidf(text string) sparse {
	counts := map[int]float64{}
	for _, w := range words(text) {
		if i, ok := m.vocabulary[w]; ok {
			counts[i]++
		}
	}
	var r sparse
	var norm float64
	for _, i := range slices.Sorted(maps.Keys(counts)) {
		v := (1 + math.Log(counts[i])) * m.idf[i]
		r = append(r, entry{i, v})
		norm += v * v
	}
	for i := range r {
		r[i].value /= math.Sqrt(norm)
	}
	return r
}

// embed returns unit vectors, zeros for texts without a known word.
func (m *lsa) embed(texts []string) []float32 {
	out := make([]float32, len(texts)*lsaDim)
	for i, t := range texts {
		v := out[i*lsaDim : (i+1)*lsaDim]
		for _, e := range m.tfidf(t) {
			for j, a := range m.axes[e.word] {
				v[j] += float32(e.value * a)
			}
		}
		linalg.Normalize(v)
	}
	return out
}

func (r sparse) dot(x []float64) float64 {
	var s float64
	for _, e := range r {
		s += e.value * x[e.word]
	}
	return s
}

func dot(a, b []float64) float64 {
	var s float64
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

func orthonormalise(q [][]float64) {
	for range 2 { // twice is enough
		for j := range q {
			for _, p := range q[:j] {
				d := dot(q[j], p)
				for i := range p {
					q[j][i] -= d * p[i]
				}
			}
			n := math.Sqrt(dot(q[j], q[j]))
			for i := range q[j] {
				q[j][i] /= max(n, 1e-300)
			}
		}
	}
}

// ritz rotates the basis q of a subspace so that its vectors approximate the
// right singular vectors of rows, the largest first: Jacobi's method on the
// small matrix (Xq)ᵀ(Xq).
func ritz(rows []sparse, q [][]float64) [][]float64 {
	n := len(q)
	xq := make([][]float64, n)
	for j := range q {
		xq[j] = make([]float64, len(rows))
		for i, r := range rows {
			xq[j][i] = r.dot(q[j])
		}
	}
	a, v := make([][]float64, n), make([][]float64, n)
	for i := range n {
		a[i], v[i] = make([]float64, n), make([]float64, n)
		v[i][i] = 1
		for j := range n {
			a[i][j] = dot(xq[i], xq[j])
		}
	}
	for range 8 {
		for p := range n {
			for r := p + 1; r < n; r++ {
				if math.Abs(a[p][r]) < 1e-14 {
					continue
				}
				theta := (a[r][r] - a[p][p]) / (2 * a[p][r])
				t := math.Copysign(1, theta) / (math.Abs(theta) + math.Sqrt(theta*theta+1))
				c := 1 / math.Sqrt(t*t+1)
				s := t * c
				for i := range n {
					a[i][p], a[i][r] = c*a[i][p]-s*a[i][r], s*a[i][p]+c*a[i][r]
				}
				for i := range n {
					a[p][i], a[r][i] = c*a[p][i]-s*a[r][i], s*a[p][i]+c*a[r][i]
					v[i][p], v[i][r] = c*v[i][p]-s*v[i][r], s*v[i][p]+c*v[i][r]
				}
			}
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(a[y][y], a[x][x]) })
	out := make([][]float64, n)
	for k, j := range order {
		out[k] = make([]float64, len(q[0]))
		for i := range n {
			for w, x := range q[i] {
				out[k][w] += v[i][j] * x
			}
		}
	}
	return out
}
