//! The program itself, as a person starts it: what it prints, where, and with which exit code.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for a home"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn tutu(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tutu"))
            .args(args)
            .env("TUTU_HOME", self.path())
            .env("OLLAMA_MODELS", self.path().join("none"))
            .env("HF_HUB_CACHE", self.path().join("none"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // A program that does not read its input closes it.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("the program ends")
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.tutu(args, b"");
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    /// Exit code and what went to standard error.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let out = self.tutu(args, b"");
        (out.status.code().expect("not killed"), text(&out.stderr))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn model() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("TUTU_TEST_MODELS") else {
        println!("skipped: TUTU_TEST_MODELS is not set");
        return None;
    };
    Some(Path::new(&folder).join("SmolLM2-135M-Instruct.Q4_1.gguf"))
}

#[test]
fn help_names_every_command_and_mistakes_exit_with_two() {
    let home = Home::new();
    let help = home.ok(&["help"]);
    for command in ["run", "pull", "list", "show", "create", "bench", "tokenize", "perplexity", "config", "uninstall"] {
        assert!(help.contains(command), "{command}");
        assert!(home.ok(&["help", command]).contains(command));
    }
    assert!(home.ok(&["--version"]).starts_with("tutu "));
    let (code, error) = home.fails(&["rnu", "x"]);
    assert_eq!(code, 2);
    assert!(error.contains("did you mean \"run\""), "{error}");
    let (code, error) = home.fails(&["run", "--temprature", "1", "x"]);
    assert_eq!(code, 2);
    assert!(error.contains("--temperature"), "{error}");
}

#[test]
fn completions_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(home.ok(&["completions", shell]).contains("tokenize"), "{shell}");
    }
}

#[test]
fn settings_are_read_changed_and_checked() {
    let home = Home::new();
    assert_eq!(home.ok(&["config", "path"]).trim(), home.path().join("config.toml").display().to_string());
    home.ok(&["config", "set", "inference.context_length", "1234"]);
    assert_eq!(home.ok(&["config", "get", "inference.context_length"]).trim(), "1234");
    let (code, error) = home.fails(&["config", "set", "inference.contxt_length", "1"]);
    assert_ne!(code, 0);
    assert!(error.contains("inference.context_length"), "{error}");
    std::fs::write(home.path().join("config.toml"), "[inference]\ncontext_lenght = 3\n").expect("writable");
    let (code, error) = home.fails(&["list"]);
    assert_eq!(code, 1);
    assert!(error.contains("context_length"), "{error}");
}

#[test]
fn a_model_that_is_not_here_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    let (code, error) = home.fails(&["show", "nothing"]);
    assert_eq!(code, 1);
    assert!(error.contains("tutu pull nothing"), "{error}");
    let (code, error) = home.fails(&["run", "./nothing.gguf", "hi"]);
    assert_eq!(code, 1);
    assert!(error.contains("nothing.gguf"), "{error}");
}

#[test]
fn a_file_that_is_no_model_is_refused_by_what_is_wrong_with_it() {
    let home = Home::new();
    let file = home.path().join("x.gguf");
    std::fs::write(&file, b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0").expect("writable");
    let (code, error) = home.fails(&["run", file.to_str().expect("ASCII"), "hi"]);
    assert_eq!(code, 1);
    assert!(error.contains("18446744073709551615"), "{error}");
}

#[test]
fn uninstall_removes_what_it_names_and_nothing_else() {
    let home = Home::new();
    home.ok(&["config", "set", "inference.threads", "1"]);
    let said = home.ok(&["uninstall", "--dry-run"]);
    assert!(said.contains(&home.path().display().to_string()), "{said}");
    assert!(home.path().join("config.toml").exists());
    home.ok(&["uninstall", "--yes"]);
    assert!(!home.path().join("config.toml").exists());
}

#[test]
fn tokens_of_the_input_are_printed_byte_for_byte() {
    let Some(model) = model() else { return };
    let (home, model) = (Home::new(), model.display().to_string());
    let ids = |args: &[&str], input: &[u8]| -> Vec<u32> {
        let all: Vec<&str> = ["tokenize", &model, "--json"].into_iter().chain(args.iter().copied()).collect();
        let out = home.tutu(&all, input);
        serde_json::from_slice(&out.stdout).expect("a list of numbers")
    };
    let (without, with) = (ids(&[], b"Hello"), ids(&[], b"Hello\n"));
    assert_eq!(without.len() + 1, with.len());
    assert!(ids(&[], b"<|im_end|>").len() > 1);
    assert_eq!(ids(&["--special"], b"<|im_end|>").len(), 1);
    assert!(ids(&[], b"").is_empty());
}

#[test]
fn a_created_model_is_shown_copied_made_again_and_removed() {
    let Some(model) = model() else { return };
    let home = Home::new();
    let file = home.path().join("TuTufile");
    let lines = format!(
        "FROM {}\nPARAMETER temperature 0\nPARAMETER stop \"\\n\\n\"\nSYSTEM You are brief.\nMESSAGE user hi\nMESSAGE assistant hello\nLICENSE MIT\n",
        model.display()
    );
    std::fs::write(&file, lines).expect("writable");
    home.ok(&["create", "mine", "--file", file.to_str().expect("ASCII")]);
    let first = home.ok(&["show", "mine", "--modelfile"]);
    assert!(first.contains("SYSTEM You are brief.") && first.contains("PARAMETER temperature 0"), "{first}");
    std::fs::write(&file, &first).expect("writable");
    home.ok(&["create", "again", "--file", file.to_str().expect("ASCII")]);
    let commands =
        |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(String::from).collect::<Vec<_>>();
    assert_eq!(commands(&first), commands(&home.ok(&["show", "again", "--modelfile"])));
    home.ok(&["cp", "mine", "copy"]);
    assert_eq!(home.ok(&["list"]).lines().count(), 4);
    let blobs = || std::fs::read_dir(home.path().join("models/blobs")).expect("there").count();
    let before = blobs();
    home.ok(&["rm", "mine", "copy"]);
    assert_eq!(blobs(), before, "the third model refers to all of them");
    home.ok(&["rm", "again"]);
    assert_eq!(blobs(), 0);
}

#[test]
fn a_template_in_gos_language_is_used_and_tells_what_the_model_can_do() {
    let Some(model) = model() else { return };
    let home = Home::new();
    let file = home.path().join("Modelfile");
    let create = |template: &str| {
        let lines = format!("FROM {}\nTEMPLATE \"\"\"{template}\"\"\"\n", model.display());
        std::fs::write(&file, lines).expect("writable");
        home.tutu(&["create", "mine", "--file", file.to_str().expect("ASCII")], b"")
    };
    let out = create("{{ range .Messages }}\n{{ nope }}{{ end }}");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("line 2, column 4: there is no function \"nope\""), "{}", text(&out.stderr));
    let template = "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}{{ range .Messages }}{{ .ToolCalls }}{{ .Content }}\
                    {{ end }}{{ $.Tools }}{{ end }}";
    assert!(create(template).status.success());
    assert_eq!(home.ok(&["show", "mine", "--template"]).trim_end(), template);
    let shown = home.ok(&["show", "mine"]);
    assert!(shown.contains("  Capabilities\n    completion\n    tools\n    insert\n\n"), "{shown}");
    // A prompt without any control token, where the file's own template would have written many.
    assert!(create("{{ range .Messages }}{{ .Content }}{{ end }}").status.success());
    let out = home.tutu(&["run", "mine", "--verbose", "--num-predict", "1", "Hi"], b"");
    assert!(text(&out.stderr).contains("prompt eval count:    1 token(s)"), "{}", text(&out.stderr));
}

#[test]
fn a_flipped_byte_is_found() {
    let Some(model) = model() else { return };
    let home = Home::new();
    let file = home.path().join("Modelfile");
    std::fs::write(&file, format!("FROM {}\n", model.display())).expect("writable");
    home.ok(&["create", "m", "--file", file.to_str().expect("ASCII")]);
    assert!(home.ok(&["show", "m", "--verify"]).contains("whole"));
    let blob = std::fs::read_dir(home.path().join("models/blobs"))
        .expect("there")
        .map(|entry| entry.expect("readable").path())
        .max_by_key(|path| path.metadata().expect("there").len())
        .expect("one blob at least");
    let mut bytes = std::fs::read(&blob).expect("readable");
    bytes[70_000_000] ^= 1;
    std::fs::write(&blob, bytes).expect("writable");
    let (code, error) = home.fails(&["show", "m", "--verify"]);
    assert_eq!(code, 1);
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn what_comes_through_a_pipe_goes_before_the_prompt_and_a_seed_repeats() {
    let Some(model) = model() else { return };
    let (home, model) = (Home::new(), model.display().to_string());
    let answer = |input: &[u8], words: &[&str]| {
        let all: Vec<&str> =
            ["run", &model, "--seed", "7", "--num-predict", "12"].into_iter().chain(words.iter().copied()).collect();
        let out = home.tutu(&all, input);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let first = answer(b"The sky is blue.", &["Summarise this."]);
    assert_eq!(first, answer(b"The sky is blue.", &["Summarise this."]));
    assert_ne!(first, answer(b"", &["Name a fruit."]));
    let out = home.tutu(&["run", &model, "--verbose", "--num-predict", "4", "--format", "json", "Say hi."], b"");
    assert!(text(&out.stderr).contains("eval rate"), "{}", text(&out.stderr));
}
