//! A kernel in the languages of the drivers, by naga.

use naga::{
    back,
    front::wgsl,
    valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator},
};
use tutu_gpu::kernel::Kernel;

/// What a kernel becomes.
pub struct Translated {
    pub spirv: Vec<u32>,
    pub msl: String,
    /// `None` where DX12 does not have it.
    pub hlsl: Option<String>,
}

/// Validates a kernel and translates it; what is wrong, otherwise.
pub fn translate(kernel: Kernel) -> Result<Translated, String> {
    let text = kernel.source();
    let module = wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?;
    // Halves inside of words are known to all three interfaces (wgpu's downlevel flag of that name).
    let capabilities = Capabilities::SUBGROUP
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SHADER_FLOAT16
        | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(&text))?;

    let options = back::spv::Options { lang_version: (1, 3), ..Default::default() };
    let spirv = back::spv::write_vec(&module, &info, &options, None).map_err(|e| e.to_string())?;

    let options = back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    let (msl, _) = back::msl::write_string(&module, &info, &options, &Default::default()).map_err(|e| e.to_string())?;

    let hlsl = if kernel.has_hlsl() { Some(hlsl(&module, &info)?) } else { None };
    Ok(Translated { spirv, msl, hlsl })
}

fn hlsl(module: &naga::Module, info: &ModuleInfo) -> Result<String, String> {
    let options = back::hlsl::Options {
        // With halves and their arithmetic.
        shader_model: back::hlsl::ShaderModel::V6_2,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let (mut hlsl, pipeline) = (String::new(), Default::default());
    let mut writer = back::hlsl::Writer::new(&mut hlsl, &options, &pipeline);
    writer.write(module, info, None).map_err(|e| e.to_string())?;
    drop(writer);
    Ok(hlsl)
}
