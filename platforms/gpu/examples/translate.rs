//! Writes every kernel to a folder, as WGSL, SPIR-V, MSL and HLSL, for other compilers to look at (`ci/shaders`), and
//! prints a line for each.

#[path = "../tests/translated/mod.rs"]
mod translated;

use std::{fs, path::PathBuf, process::ExitCode};

use tutu_gpu::kernel::Kernel;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: translate DIR");
        return ExitCode::FAILURE;
    };
    let write = |name: &str, end: &str, bytes: &[u8]| {
        fs::write(dir.join(format!("{name}.{end}")), bytes).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    };
    println!("{:<36} {:>8} {:>8} {:>8}  bytes of SPIR-V, MSL, HLSL", "kernel", "spv", "metal", "hlsl");
    for kernel in Kernel::all() {
        let name = kernel.name();
        let made = match translated::translate(kernel) {
            Ok(made) => made,
            Err(error) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let length = made.hlsl.as_ref().map_or("none".into(), |hlsl| hlsl.len().to_string());
        println!("{name:<36} {:>8} {:>8} {length:>8}", made.spirv.len() * 4, made.msl.len());
        write(&name, "wgsl", kernel.source().as_bytes());
        write(&name, "spv", &made.spirv.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
        write(&name, "metal", made.msl.as_bytes());
        made.hlsl.iter().for_each(|hlsl| write(&name, "hlsl", hlsl.as_bytes()));
    }
    ExitCode::SUCCESS
}
