//! Every kernel with every variant is sound WGSL and becomes SPIR-V, MSL and HLSL.

mod translated;

use tutu_gpu::kernel::Kernel;

#[test]
fn every_kernel_becomes_spir_v_msl_and_hlsl() {
    for kernel in Kernel::all() {
        let name = kernel.name();
        let made = translated::translate(kernel).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(made.spirv[0], 0x0723_0203, "{name}");
        assert!(made.msl.contains("kernel void"), "{name}");
        assert_eq!(made.hlsl.is_some_and(|hlsl| hlsl.contains("numthreads")), kernel.has_hlsl(), "{name}");
    }
}

#[test]
fn every_name_is_of_one_kernel() {
    let mut names: Vec<String> = Kernel::all().into_iter().map(Kernel::name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
