package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/prerun/prerun/datasec"
	"github.com/prerun/prerun/datasec/embedding"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/provenance"
)

func (a *app) provenanceCommand() *cobra.Command {
	var evidence, policyFile string
	var inputs []string
	cmd := &cobra.Command{
		Use: "verify ARTIFACT", Short: "judge where an artefact comes from", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readFile(policyFile)
			if err != nil {
				return err
			}
			policy, err := provenance.ParsePolicy(data)
			if err != nil {
				return fmt.Errorf("%q: %w", policyFile, err)
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
			rep, err := v.Verify(cmd.Context(), *artifact, provenance.Dir(src.only()), policy)
			if err != nil {
				return err
			}
			return a.finish("provenance verify", rep, pipeline.ProvenanceFacts(rep), func(doc *report.Document) {
				doc.Graphs = []report.Graph{pipeline.LineageGraph(rep.Lineage())}
			})
		},
	}
	cmd.Flags().StringVar(&evidence, "evidence", "", "folder or file of statements")
	cmd.Flags().StringVar(&policyFile, "policy", "", "file of the policy, which names the trusted keys")
	cmd.Flags().StringArrayVar(&inputs, "input", nil, "file that went in, such as training data; the policy names it by its base name")
	must(cmd.MarkFlagRequired("evidence"))
	must(cmd.MarkFlagRequired("policy"))
	return group("provenance", "where a model comes from", cmd)
}

// artifactOf hashes an artefact of the command line, or takes a digest as it is.
func artifactOf(cmd *cobra.Command, a *app, arg string, inputs []string) (*provenance.Artifact, error) {
	art := &provenance.Artifact{Name: arg}
	if d, err := digest.Parse(arg); err == nil {
		art.Digests = []digest.Digest{d}
	} else {
		m, name, err := manifestOf(cmd, a, arg)
		if err != nil {
			return nil, err
		}
		art.Name, art.Digests = name, []digest.Digest{m.Root()}
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
		item := provenance.Item{Name: filepath.Base(input), Digests: []digest.Digest{m.Root()}}
		if m.SingleFile {
			item.Digests = append(item.Digests, m.Resources[0].Digest)
		}
		art.Inputs = append(art.Inputs, item)
	}
	return art, nil
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
	var against string
	cmd := &cobra.Command{
		Use: "scan FILE...", Short: "find poison in training data or a retrieval corpus", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var scanner datasec.Scanner
			if against != "" {
				data, err := readFile(against)
				if err != nil {
					return err
				}
				if scanner.Against, err = datasec.ParseManifest(data); err != nil {
					return fmt.Errorf("%q: %w", against, err)
				}
			}
			var shards []datasec.Shard
			for _, arg := range args {
				p, err := open(arg)
				if err != nil {
					return err
				}
				defer p.Close()
				if p.file == "" {
					return fmt.Errorf("%q is a folder; name its files", arg)
				}
				shards = append(shards, datasec.Files(p.fsys, schema, p.file)...)
			}
			res, err := scanner.Scan(cmd.Context(), shards...)
			if err != nil {
				return err
			}
			facts := pipeline.DatasetFacts(res)
			m, err := res.Manifest()
			switch {
			case err == nil:
				facts["manifest"] = m
			case !errors.Is(err, datasec.ErrIncomplete):
				return err
			}
			return a.finish("dataset scan", res, facts)
		},
	}
	cmd.Flags().StringArrayVar(&schema.Text, "text", nil, "field that a model reads; all strings without it")
	cmd.Flags().StringVar(&schema.Label, "label", "", "field of the label")
	cmd.Flags().StringVar(&schema.ID, "id", "", "field that names the row")
	cmd.Flags().StringVar(&against, "against", "", "manifest of the trusted data set")
	return group("dataset", "look at data", cmd)
}

func (a *app) embeddingsCommand() *cobra.Command {
	var queries, labels string
	cmd := &cobra.Command{
		Use: "scan FILE", Short: "find tampering in embedding vectors", Args: cobra.ExactArgs(1),
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
			return a.finish("embeddings scan", res, pipeline.EmbeddingFacts(res))
		},
	}
	cmd.Flags().StringVar(&queries, "queries", "", "vectors of questions that users ask")
	cmd.Flags().StringVar(&labels, "labels", "", "class of each vector")
	return group("embeddings", "look at vectors", cmd)
}

func openMatrix(path string) (embedding.Matrix, string, error) {
	p, err := open(path)
	if err != nil {
		return nil, "", err
	}
	defer p.Close()
	if p.file == "" {
		return nil, "", fmt.Errorf("%q is a folder, not a file of vectors", path)
	}
	m, err := embedding.Open(p.fsys, p.file)
	return m, p.file, err
}
