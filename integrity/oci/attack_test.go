package oci_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
)

// paged serves lists of referrers one by one, linked.
func paged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			h.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		h.ServeHTTP(whole, r)
		var index struct {
			SchemaVersion int               `json:"schemaVersion"`
			MediaType     string            `json:"mediaType"`
			Manifests     []json.RawMessage `json:"manifests"`
		}
		if err := json.Unmarshal(whole.Body.Bytes(), &index); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		last, _ := strconv.Atoi(r.URL.Query().Get("last"))
		w.Header().Set("Content-Type", index.MediaType)
		if last+1 < len(index.Manifests) {
			w.Header().Set("Link", "<"+r.URL.Path+"?last="+strconv.Itoa(last+1)+`>; rel="next"`)
		}
		index.Manifests = index.Manifests[min(last, len(index.Manifests)):min(last+1, len(index.Manifests))]
		_, _ = w.Write(marshal(index))
	})
}
