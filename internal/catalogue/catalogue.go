// Package catalogue names the entries of outside catalogues that rules refer
// to. The edition of each catalogue stands here and nowhere else, so that all
// rules speak of the same one.
package catalogue

import "github.com/prerun/prerun"

// CWE is a weakness of MITRE's list, such as "CWE-502".
func CWE(id string) prerun.Reference {
	return prerun.Reference{Catalogue: "CWE", Edition: "4.16", ID: id}
}

// CVE is a vulnerability, such as "CVE-2025-1550". CVE has no editions.
func CVE(id string) prerun.Reference { return prerun.Reference{Catalogue: "CVE", ID: id} }

// ATLAS is a technique of MITRE ATLAS, such as "AML.T0010".
func ATLAS(id string) prerun.Reference {
	return prerun.Reference{Catalogue: "ATLAS", Edition: "2025.10", ID: id}
}

// LLM is a risk of OWASP's list for LLM applications, such as "LLM03".
func LLM(id string) prerun.Reference {
	return prerun.Reference{Catalogue: "OWASP-LLM", Edition: "2025", ID: id}
}

// ML is a risk of OWASP's list for machine learning, such as "ML06".
func ML(id string) prerun.Reference {
	return prerun.Reference{Catalogue: "OWASP-ML", Edition: "2023", ID: id}
}

// SLSA is a page of the SLSA specification, such as "verifying-artifacts".
func SLSA(id string) prerun.Reference {
	return prerun.Reference{Catalogue: "SLSA", Edition: "1.2", ID: id}
}

// AISBD is a control of the AISBD catalogue, such as "SUP-01".
func AISBD(id string) prerun.Reference {
	return prerun.Reference{Catalogue: "AISBD", Edition: "2026-07", ID: id}
}

// SupplyChain is what every rule refers to that fires when a model is not what
// its maker signed.
func SupplyChain() []prerun.Reference {
	return []prerun.Reference{ATLAS("AML.T0010"), LLM("LLM03"), ML("ML06"), AISBD("SUP-01")}
}
