package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/provenance"
)

func (a *app) provenanceCommand() *cobra.Command {
	var evidence, policyFile string
	var inputs, signers []string
	cmd := &cobra.Command{
		Use: "verify ARTIFACT", Short: "judge where an artefact comes from", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readFile(policyFile)
			if err != nil {
				return err
			}
			policy, err := provenance.ParsePolicy(data)
			if err != nil {
				return named(policyFile, err)
			}
			artifact, err := artifactOf(cmd, a, args[0], inputs)
			if err != nil {
				return err
			}
			src, err := open(evidence)
			if err != nil {
				return err
			}
			defer src.Close()
			v := provenance.Verifier{Now: a.now}
			if v.Trust.Signers, err = trusted(signers); err != nil {
				return err
			}
			rep, err := v.Verify(cmd.Context(), *artifact, provenance.Dir(src.only()), policy)
			if err != nil {
				return err
			}
			return a.finish(rep, pipeline.ProvenanceFacts(rep), a.lines(requirementLines(rep)), func(doc *report.Document) {
				doc.Verdict = provenanceVerdict(rep)
				doc.Graphs = []report.Graph{pipeline.LineageGraph(rep.Lineage())}
			})
		},
	}
	cmd.Flags().StringVar(&evidence, "evidence", "", "`SRC` of signed statements: a folder or a file")
	cmd.Flags().StringVar(&policyFile, "policy", "", "`FILE` of the policy: what must be true, and said by whom")
	cmd.Flags().StringArrayVar(&signers, "signer", nil, "public key of a signer that the policy names, as `NAME=FILE` (repeatable)")
	cmd.Flags().StringArrayVar(&inputs, "input", nil, "`FILE` that went in, such as training data; the policy names it by its base name (repeatable)")
	must(cmd.MarkFlagRequired("evidence"))
	must(cmd.MarkFlagRequired("policy"))
	return group("provenance", "where a model comes from", cmd)
}

// trusted reads the keys of --signer.
func trusted(signers []string) (map[string]prerun.Verifier, error) {
	out := make(map[string]prerun.Verifier)
	for _, arg := range signers {
		name, file, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--signer %q is not NAME=FILE", arg)
		}
		if out[name] != nil {
			return nil, fmt.Errorf("--signer names %q twice", name)
		}
		pub, err := readPublicKey(file)
		if err != nil {
			return nil, err
		}
		if out[name], err = provenance.NewKeyVerifier(pub); err != nil {
			return nil, named(file, err)
		}
	}
	return out, nil
}

// provenanceVerdict goes by the requirements: what the policy demands is not
// met by a threshold of severity.
func provenanceVerdict(rep *provenance.Report) prerun.Verdict {
	verdict := prerun.Pass
	for _, r := range rep.Requirements {
		switch r.Outcome {
		case provenance.Met:
		case provenance.NotMet, provenance.Absent:
			return prerun.Fail
		default:
			verdict = prerun.Incomplete
		}
	}
	return verdict
}

func requirementLines(rep *provenance.Report) []report.Check {
	var out []report.Check
	for _, r := range rep.Requirements {
		outcome := "error"
		switch r.Outcome {
		case provenance.Met:
			outcome = "pass"
		case provenance.NotMet, provenance.Absent:
			outcome = "fail"
		}
		out = append(out, report.Check{ID: r.Name, Outcome: outcome, Reason: r.Reason, Required: true})
	}
	return out
}

// artifactOf hashes an artefact of the command line, or takes a digest as it is.
// Both orders of the root digest are names of it.
func artifactOf(cmd *cobra.Command, a *app, arg string, inputs []string) (*provenance.Artifact, error) {
	art := &provenance.Artifact{Name: arg}
	if d, err := digest.Parse(arg); err == nil {
		art.Digests = []digest.Digest{d}
	} else {
		m, name, err := manifestOf(cmd, a, arg)
		if err != nil {
			return nil, err
		}
		art.Name, art.Digests = name, roots(m)
		for path, d := range m.Files() {
			art.Files = append(art.Files, provenance.Item{Name: path, Digests: []digest.Digest{d}})
		}
		if m.SingleFile {
			art.Digests = append(art.Digests, art.Files[0].Digests...)
		}
	}
	for _, input := range inputs {
		m, _, err := manifestOf(cmd, a, input)
		if err != nil {
			return nil, err
		}
		item := provenance.Item{Name: filepath.Base(input), Digests: roots(m)}
		if m.SingleFile {
			item.Digests = append(item.Digests, m.Resources[0].Digest)
		}
		art.Inputs = append(art.Inputs, item)
	}
	return art, nil
}

func roots(m *integrity.Manifest) []digest.Digest {
	if m.PythonRoot() == m.Root() {
		return []digest.Digest{m.Root()}
	}
	return []digest.Digest{m.Root(), m.PythonRoot()}
}

func manifestOf(cmd *cobra.Command, a *app, path string) (*integrity.Manifest, string, error) {
	p, err := open(path)
	if err != nil {
		return nil, "", err
	}
	defer p.Close()
	flags := hashFlags{algorithm: integrity.SHA256}
	m, err := flags.manifest(cmd.Context(), a, p, "")
	return m, p.name(), err
}

func (a *app) datasetCommand() *cobra.Command {
	var schema datasec.Schema
	var against, saveManifest string
	cmd := &cobra.Command{
		Use: "scan FILE...", Short: "find poison in training data or a retrieval corpus", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			var scanner datasec.Scanner
			if against != "" {
				data, err := readFile(against)
				if err != nil {
					return err
				}
				if scanner.Against, err = datasec.ParseManifest(data); err != nil {
					return named(against, err)
				}
			}
			places, done, err := openAll(args, openFile)
			if err != nil {
				return err
			}
			defer done()
			names, files := labels(places), make(hostFiles)
			for i, p := range places {
				files[names[i]] = p.host()
			}
			shards := datasec.Files(files, schema, names...)
			res, err := scanner.Scan(cmd.Context(), shards...)
			if err != nil {
				return err
			}
			facts := pipeline.DatasetFacts(res)
			if saveManifest != "" {
				m, err := res.Manifest()
				if err != nil {
					return err
				}
				if err := outfile.Write(saveManifest, m.Encode(), 0o644); err != nil {
					return err
				}
			}
			return a.finish(res, facts, summary("%s", count(int(res.Rows()), "row")))
		},
	}
	cmd.Flags().StringArrayVar(&schema.Text, "text", nil, "`FIELD` that a model reads; all strings without it (repeatable)")
	cmd.Flags().StringVar(&schema.Label, "label", "", "`FIELD` of the label")
	cmd.Flags().StringVar(&schema.ID, "id", "", "`FIELD` that names the row")
	cmd.Flags().StringVar(&against, "against", "", "manifest `FILE` of the trusted data set, which --save-manifest writes")
	cmd.Flags().StringVar(&saveManifest, "save-manifest", "", "write the digests of files and rows to this `FILE`")
	return group("dataset", "look at data", cmd)
}

func (a *app) embeddingsCommand() *cobra.Command {
	var queries, labels string
	cmd := &cobra.Command{
		Use: "scan FILE", Short: "find tampering in embedding vectors", Args: takes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if labels != "" {
				return errors.New("--labels: class-level tests are not built yet")
			}
			m, name, err := openMatrix(args[0])
			if err != nil {
				return err
			}
			var scanner embedding.Scanner
			if queries != "" {
				if scanner.Queries, _, err = openMatrix(queries); err != nil {
					return err
				}
			}
			res, err := scanner.Scan(cmd.Context(), name, m)
			if err != nil {
				return err
			}
			return a.finish(res, pipeline.EmbeddingFacts(res),
				summary("%s of %d elements, %d queries", count(res.Rows, "vector"), res.Dim, res.Queries))
		},
	}
	cmd.Flags().StringVar(&queries, "queries", "", "`FILE` with vectors of questions that users ask")
	cmd.Flags().StringVar(&labels, "labels", "", "`FILE` with the class of each vector (not built yet)")
	return group("embeddings", "look at vectors", cmd)
}

func openMatrix(path string) (embedding.Matrix, string, error) {
	p, err := openFile(path)
	if err != nil {
		return nil, "", err
	}
	defer p.Close()
	m, err := embedding.Open(hostFiles{p.file: p.host()}, p.file)
	return m, p.file, err
}
