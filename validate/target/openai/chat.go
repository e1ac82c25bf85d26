package openai

import (
	"errors"
	"fmt"

	"github.com/prerun/prerun/internal/strictjson"
	"github.com/prerun/prerun/validate"
)

type chatRequest struct {
	Model       string        `json:"model"`
	Messages    []chatMessage `json:"messages"`
	Temperature float64       `json:"temperature"`
	MaxTokens   int           `json:"max_tokens,omitempty"`
	Seed        uint64        `json:"seed"`
	Stream      bool          `json:"stream"`
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func newChatRequest(model string, req validate.Request) chatRequest {
	out := chatRequest{
		Model: model, Temperature: req.Temperature, MaxTokens: req.MaxTokens, Seed: req.Seed & (1<<31 - 1),
	}
	if req.System != "" {
		out.Messages = append(out.Messages, chatMessage{"system", req.System})
	}
	for _, m := range req.History {
		out.Messages = append(out.Messages, chatMessage{m.Role, m.Text})
	}
	out.Messages = append(out.Messages, chatMessage{"user", req.Input})
	return out
}

// chatResponse has what is used of an answer. Servers add members at will, so
// unknown ones are ignored; a name that stands twice is still an error.
type chatResponse struct {
	Model       *string      `json:"model"`
	Fingerprint *string      `json:"system_fingerprint"`
	Choices     []chatChoice `json:"choices"`
	Usage       *struct {
		Prompt     *int `json:"prompt_tokens"`
		Completion *int `json:"completion_tokens"`
	} `json:"usage"`
	Error *strictjson.Value `json:"error"`
}

type chatChoice struct {
	Message struct {
		Content   *string            `json:"content"`
		Refusal   *string            `json:"refusal"`
		ToolCalls []strictjson.Value `json:"tool_calls"`
	} `json:"message,required"`
	Finish *string `json:"finish_reason"`
}

var lenient = strictjson.Options{AllowUnknown: true, Limits: strictjson.Limits{Depth: 32, Nodes: 1 << 18}}

// decodeChat reads an answer. One that has no text, such as a call of a tool,
// is an error: nothing was said that could be scored.
func decodeChat(data []byte) (validate.Response, error) {
	var r chatResponse
	if _, err := strictjson.Unmarshal(data, &r, lenient); err != nil {
		return validate.Response{}, err
	}
	if r.Error != nil && r.Error.Kind != strictjson.Null {
		return validate.Response{}, fmt.Errorf("error in an answer of status 200: %s", errorMessage(data))
	}
	if len(r.Choices) != 1 {
		return validate.Response{}, fmt.Errorf("%d choices, expected one", len(r.Choices))
	}
	choice := r.Choices[0]
	out := validate.Response{Finish: value(choice.Finish), Model: value(r.Model)}
	if f := value(r.Fingerprint); f != "" {
		out.Model += " " + f
	}
	if r.Usage != nil {
		out.InputTokens, out.OutputTokens = value(r.Usage.Prompt), value(r.Usage.Completion)
	}
	switch m := choice.Message; {
	case m.Content != nil && (*m.Content != "" || m.Refusal == nil):
		out.Text = *m.Content
	case m.Refusal != nil:
		out.Text = *m.Refusal
	case len(m.ToolCalls) > 0:
		return validate.Response{}, errors.New("a call of a tool, no text")
	default:
		return validate.Response{}, errors.New("no text")
	}
	return out, nil
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// errorMessage is what a server says in an error body: the protocol's message,
// or the body itself.
func errorMessage(data []byte) string {
	v, err := strictjson.Parse(data, lenient.Limits)
	if err != nil {
		return string(data)
	}
	for _, m := range []*strictjson.Value{v.Get("error").Get("message"), v.Get("error"), v.Get("message"), v.Get("detail")} {
		if m != nil && m.Kind == strictjson.String {
			return m.Text
		}
	}
	return string(data)
}
