//! `tutu help` and `tutu completions`: both are the table of commands, printed.

use lexopt::{Arg, Parser, ValueExt};

use super::{
    Error,
    commands::{self, ALL, Command},
};

/// `tutu help [COMMAND]`.
pub fn run(mut parser: Parser) -> Result<(), Error> {
    match parser.next()? {
        None => print!("{}", overview()),
        Some(Arg::Value(name)) => print!("{}", of(commands::find(&name.string()?)?)),
        Some(other) => return Err(other.unexpected().into()),
    }
    Ok(())
}

/// All commands, a line each.
pub fn overview() -> String {
    let mut text = String::from("tutu runs language models on this machine.\n\nUsage: tutu COMMAND ...\n\n");
    for command in ALL {
        text.push_str(&format!("  {:<12} {}\n", command.name, command.about));
    }
    text.push_str("\nA MODEL is a name (smollm2, hf.co/user/repo:Q4_K_M), the URL of a GGUF file, or a path to one.\n");
    text.push_str("`tutu help COMMAND` explains a command.\n");
    text
}

/// One command in full.
pub fn of(command: &Command) -> String {
    let mut text = format!("{}\n\nUsage: tutu {} {}\n", command.about, command.name, command.takes);
    if let Some(alias) = command.alias {
        text.push_str(&format!("Also:  tutu {alias}\n"));
    }
    if !command.flags.is_empty() {
        text.push('\n');
        let width = command.flags.iter().map(|flag| flag.0.len()).max().unwrap_or(0);
        for (flag, about) in command.flags {
            text.push_str(&format!("  {flag:<width$}  {about}\n"));
        }
    }
    text
}

/// `tutu completions SHELL`.
pub fn completions(mut parser: Parser) -> Result<(), Error> {
    let Some(Arg::Value(shell)) = parser.next()? else {
        return Err(Error::usage("completions needs a shell: bash, zsh, fish or powershell"));
    };
    let names: Vec<&str> = ALL.iter().map(|command| command.name).collect();
    let flags = |command: &Command| -> Vec<&str> {
        command.flags.iter().filter_map(|flag| flag.0.split([' ', ',']).find(|part| part.starts_with("--"))).collect()
    };
    match shell.string()?.as_str() {
        "bash" => {
            println!("_tutu() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}}\n  if [ \"$COMP_CWORD\" = 1 ]; then");
            println!("    COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")); return\n  fi", names.join(" "));
            println!("  case ${{COMP_WORDS[1]}} in");
            for command in ALL {
                println!(
                    "    {}) COMPREPLY=($(compgen -f -W \"{}\" -- \"$cur\"));;",
                    command.name,
                    flags(command).join(" ")
                );
            }
            println!("  esac\n}}\ncomplete -F _tutu tutu");
        }
        "zsh" => {
            println!(
                "#compdef tutu\nif (( CURRENT == 2 )); then\n  compadd {}\n  return\nfi\ncase $words[2] in",
                names.join(" ")
            );
            for command in ALL {
                println!("  {}) compadd -- {}; _files;;", command.name, flags(command).join(" "));
            }
            println!("esac");
        }
        "fish" => {
            for command in ALL {
                println!("complete -c tutu -n __fish_use_subcommand -a {} -d '{}'", command.name, command.about);
                for flag in flags(command) {
                    println!("complete -c tutu -n '__fish_seen_subcommand_from {}' -l {}", command.name, &flag[2..]);
                }
            }
        }
        "powershell" => {
            println!("Register-ArgumentCompleter -Native -CommandName tutu -ScriptBlock {{\n  param($word)");
            let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            println!("  @({}) | Where-Object {{ $_ -like \"$word*\" }}\n}}", list.join(", "));
        }
        other => return Err(Error::usage(format!("there are no completions for {other:?}"))),
    }
    Ok(())
}
