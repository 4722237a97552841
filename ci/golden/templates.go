// Makes the golden outputs of core/llm/src/gotmpl/tests.rs again, with Go's own text/template (Go 1.18 or newer):
//
//	go run ci/golden/templates.go core/llm/tests/data/gotmpl
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
)

var funcs = template.FuncMap{
	"json":             marshal,
	"currentDate":      func(...string) string { return "2026-01-31" },
	"yesterdayDate":    func(...string) string { return "2026-01-30" },
	"toTypeScriptType": func(p Property) string { return p.ToTypeScriptType() },
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	check(err)
	return string(b)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string, into any) {
	b, err := os.ReadFile(path)
	check(err)
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	check(decoder.Decode(into))
}

func write(path string, from any) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	check(encoder.Encode(from))
	check(os.WriteFile(path, out.Bytes(), 0o644))
}

// Whole numbers are whole.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return int(i)
		}
		f, err := v.Float64()
		check(err)
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

type Case struct {
	Template string  `json:"template"`
	Want     *string `json:"want"`
}

func language(path string) {
	var file struct {
		Data  any     `json:"data"`
		Cases []*Case `json:"cases"`
	}
	read(path, &file)
	kept := file.Data
	b, err := json.Marshal(kept)
	check(err)
	var data any
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	check(decoder.Decode(&data))
	data = plain(data)
	for _, c := range file.Cases {
		c.Want = nil
		t, err := template.New("").Funcs(funcs).Parse(c.Template)
		if err != nil {
			continue
		}
		var out strings.Builder
		if t.Execute(&out, data) == nil {
			text := out.String()
			c.Want = &text
		}
	}
	write(path, map[string]any{"data": kept, "cases": file.Cases})
}

// The values as Ollama's templates see them.

type Message struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	Thinking   string     `json:"thinking,omitempty"`
	Images     []string   `json:"images,omitempty"`
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolName   string     `json:"tool_name,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type ToolCall struct {
	ID       string   `json:"id,omitempty"`
	Function Function `json:"function"`
}

type Function struct {
	Index     int       `json:"index"`
	Name      string    `json:"name"`
	Arguments Arguments `json:"arguments"`
}

type Arguments map[string]any

func (a Arguments) String() string { return marshal(map[string]any(a)) }

type Tools []Tool

func (t Tools) String() string { return marshal([]Tool(t)) }

type Tool struct {
	Type     string       `json:"type"`
	Items    any          `json:"items,omitempty"`
	Function ToolFunction `json:"function"`
}

func (t Tool) String() string { return marshal(t) }

type ToolFunction struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  Parameters `json:"parameters"`
}

func (t ToolFunction) String() string { return marshal(t) }

type Parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties Properties `json:"properties"`
}

func (p Parameters) String() string { return marshal(p) }

type Properties map[string]Property

func (p Properties) String() string { return marshal(map[string]Property(p)) }

type Kinds []string

func (k *Kinds) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*k = Kinds{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(k))
}

func (k Kinds) MarshalJSON() ([]byte, error) {
	if len(k) == 1 {
		return json.Marshal(k[0])
	}
	return json.Marshal([]string(k))
}

func (k Kinds) String() string {
	switch len(k) {
	case 0:
		return ""
	case 1:
		return k[0]
	}
	return fmt.Sprint([]string(k))
}

type Property struct {
	AnyOf       []Property `json:"anyOf,omitempty"`
	Type        Kinds      `json:"type,omitempty"`
	Items       any        `json:"items,omitempty"`
	Description string     `json:"description,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Properties  Properties `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
}

func (p Property) ToTypeScriptType() string {
	var all []string
	for _, choice := range p.AnyOf {
		all = append(all, choice.ToTypeScriptType())
	}
	if len(all) == 0 {
		known := map[string]string{
			"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
			"array": "any[]", "object": "Record<string, any>", "null": "null",
		}
		for _, kind := range p.Type {
			name, ok := known[kind]
			if !ok {
				name = "any"
			}
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return "any"
	}
	return strings.Join(all, " | ")
}

type Talk struct {
	Name     string            `json:"name"`
	Messages []Message         `json:"messages"`
	Tools    Tools             `json:"tools"`
	Think    *bool             `json:"think"`
	Prompt   string            `json:"prompt"`
	Suffix   string            `json:"suffix"`
	Want     map[string]string `json:"want"`
}

func mentions(t *template.Template, name string) bool {
	found := false
	var walk func(n parse.Node)
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			if n != nil {
				for _, n := range n.Nodes {
					walk(n)
				}
			}
		case *parse.ActionNode:
			walk(n.Pipe)
		case *parse.TemplateNode:
			walk(n.Pipe)
		case *parse.IfNode:
			walk(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.WithNode:
			walk(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.RangeNode:
			walk(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.PipeNode:
			if n != nil {
				for _, c := range n.Cmds {
					for _, a := range c.Args {
						walk(a)
					}
				}
			}
		case *parse.FieldNode:
			for _, field := range n.Ident {
				found = found || field == name
			}
		case *parse.VariableNode:
			for _, field := range n.Ident {
				found = found || field == name
			}
		}
	}
	for _, t := range t.Templates() {
		walk(t.Root)
	}
	return found
}

func execute(t *template.Template, data map[string]any, talk *Talk) string {
	data["Think"] = talk.Think != nil && *talk.Think
	data["ThinkLevel"] = ""
	data["IsThinkSet"] = talk.Think != nil
	var out strings.Builder
	check(t.Execute(&out, data))
	return out.String()
}

func render(t *template.Template, talk *Talk) string {
	if talk.Suffix != "" {
		return execute(t, map[string]any{"Prompt": talk.Prompt, "Suffix": talk.Suffix, "Response": ""}, talk)
	}
	var system []string
	var messages []*Message
	for _, m := range talk.Messages {
		m := m
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		if last := len(messages) - 1; last >= 0 && messages[last].Role == m.Role && m.Role != "tool" {
			messages[last].Content += "\n\n" + m.Content
		} else {
			messages = append(messages, &m)
		}
	}
	if mentions(t, "Messages") {
		return execute(t, map[string]any{
			"System": strings.Join(system, "\n\n"), "Messages": messages, "Tools": talk.Tools, "Response": "",
		}, talk)
	}
	// One turn at a time. What follows the last answer is cut off at a mark that stands for it.
	const mark = "\x00"
	all := ""
	turn := map[string]any{"System": "", "Prompt": "", "Response": ""}
	flush := func() {
		all += execute(t, turn, talk)
		turn = map[string]any{"System": "", "Prompt": "", "Response": ""}
	}
	for _, m := range messages {
		switch m.Role {
		case "system":
			if turn["Prompt"] != "" || turn["Response"] != "" {
				flush()
			}
			turn["System"] = m.Content
		case "user":
			if turn["Response"] != "" {
				flush()
			}
			turn["Prompt"] = m.Content
		case "assistant":
			turn["Response"] = m.Content
		}
	}
	begun := turn["Response"].(string)
	turn["Response"] = mark
	flush()
	return all[:strings.Index(all, mark)] + begun
}

func talks(folder string) {
	var file []*Talk
	path := filepath.Join(folder, "talks.json")
	read(path, &file)
	names, err := filepath.Glob(filepath.Join(folder, "*.gotmpl"))
	check(err)
	sort.Strings(names)
	for _, talk := range file {
		for i := range talk.Messages {
			for j := range talk.Messages[i].ToolCalls {
				call := &talk.Messages[i].ToolCalls[j].Function
				call.Index = j
				call.Arguments = plain(map[string]any(call.Arguments)).(map[string]any)
			}
		}
		talk.Want = map[string]string{}
		for _, name := range names {
			source, err := os.ReadFile(name)
			check(err)
			t, err := template.New("").Option("missingkey=zero").Funcs(funcs).Parse(string(source))
			check(err)
			if !mentions(t, "Messages") && !mentions(t, "Response") {
				t, err = template.New("").Option("missingkey=zero").Funcs(funcs).Parse(string(source) + "{{ .Response }}")
				check(err)
			}
			if (talk.Suffix != "") == mentions(t, "Suffix") {
				talk.Want[strings.TrimSuffix(filepath.Base(name), ".gotmpl")] = render(t, talk)
			}
		}
	}
	write(path, file)
}

func main() {
	folder := os.Args[1]
	language(filepath.Join(folder, "language.json"))
	talks(folder)
}
