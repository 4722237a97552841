//! A task of Windows, that begins when its user comes. (A service of Windows must speak with its manager; a task need not.)
//!
//! Source: Microsoft, *Task Scheduler Schema* 1.2; `CommandLineToArgvW` for quotes.

use std::path::Path;

use super::{Scope, Service, Step, step, xml as escaped};

/// What the task is called.
const NAME: &str = "TuTU";

/// The file that tells of it.
pub(super) const FILE: &str = "tutu-task.xml";

pub(super) fn xml(service: &Service) -> Result<String, &'static str> {
    if service.scope == Scope::System {
        return Err("on Windows a task runs for its user alone");
    }
    if service.home.is_some() {
        return Err("a task holds no variables: set TUTU_HOME for your account (`setx TUTU_HOME FOLDER`)");
    }
    let words: Vec<String> = service.arguments.iter().map(|word| quoted(word)).collect();
    Ok(task(&escaped(&service.program.display().to_string()), &escaped(&words.join(" "))))
}

fn task(command: &str, arguments: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>TuTU Engine, language models on this machine</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Hidden>true</Hidden>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>3</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{command}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"#
    )
}

/// A word of a command line. Backslashes mean something before a quote alone.
fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.into();
    }
    let (mut out, mut slashes) = (String::from("\""), 0);
    for c in word.chars() {
        match c {
            '\\' => slashes += 1,
            '"' => {
                out.push_str(&"\\".repeat(2 * slashes + 1));
                slashes = 0;
                out.push('"');
                continue;
            }
            _ => {
                out.push_str(&"\\".repeat(slashes));
                slashes = 0;
            }
        }
        if c != '\\' {
            out.push(c);
        }
    }
    out.push_str(&"\\".repeat(2 * slashes));
    out.push('"');
    out
}

pub(super) fn begin(path: &Path) -> Vec<Step> {
    let path = path.display().to_string();
    vec![step(&["schtasks", "/Create", "/TN", NAME, "/XML", &path, "/F"]), step(&["schtasks", "/Run", "/TN", NAME])]
}

pub(super) fn end() -> Vec<Step> {
    vec![step(&["schtasks", "/End", "/TN", NAME]), step(&["schtasks", "/Delete", "/TN", NAME, "/F"])]
}

pub(super) fn ask() -> Step {
    step(&["schtasks", "/Query", "/TN", NAME, "/FO", "LIST"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_windows_reads_them() {
        for (word, want) in [
            ("a", "a"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\\b", "a\\b"),
            ("a b\\", "\"a b\\\\\""),
            ("a\"b", "\"a\\\"b\""),
            ("a \\\" b", "\"a \\\\\\\" b\""),
        ] {
            assert_eq!(quoted(word), want, "{word}");
        }
    }
}
