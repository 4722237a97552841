//! Writes the tiny models of the tests to files, and prints the tokens that they read: `tiny DIR`.

#[path = "../tests/tiny/mod.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod tiny;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: tiny DIR");
    std::fs::create_dir_all(&folder)?;
    for name in tiny::NAMES {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.gguf")), tiny::model(name))?;
    }
    let ids: Vec<String> = tiny::tokens().iter().map(u32::to_string).collect();
    println!("{}", ids.join(" "));
    Ok(())
}
