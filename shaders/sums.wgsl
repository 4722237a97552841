// How a workgroup sums up what its invocations have, where the kernel has SUMS numbers in each. Not a kernel.

// The same for all of a workgroup: barriers may depend on it.
struct Workgroup {
    id: vec3<u32>,
    groups: vec3<u32>,
}

struct Place {
    lane: u32,
    // Of the invocation in its subgroup, of that in the workgroup, and how many there are.
    place: u32,
    subgroup: u32,
    subgroups: u32,
}

// The entry; what a kernel does is its `work`. These are parameters and no structure, in which naga gives those that HLSL has
// no words for no meaning.
@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//#if SUBGROUPS
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
//#end
) {
//#if SUBGROUPS
    work(Workgroup(id, groups), Place(lane, place, subgroup, subgroups));
//#else
    work(Workgroup(id, groups), Place(lane, 0u, 0u, 0u));
//#end
}

// Subgroups have four invocations at the least.
//#if SUBGROUPS
var<workgroup> parts: array<f32, (LANES * SUMS + 3u) / 4u>;
//#else
var<workgroup> parts: array<f32, LANES * SUMS>;
//#end

// Lays them out for `sum_of_parts`.
fn lay_out(at: Place, sums: ptr<function, array<f32, SUMS>>) {
    for (var i = 0u; i < SUMS; i++) {
//#if SUBGROUPS
        let sum = subgroupAdd((*sums)[i]);
        if (at.place == 0u) { parts[at.subgroup * SUMS + i] = sum; }
//#else
        parts[at.lane * SUMS + i] = (*sums)[i];
//#end
    }
    workgroupBarrier();
}

// Number `i`, of all invocations together.
fn sum_of_parts(at: Place, i: u32) -> f32 {
    var sum = 0.0;
//#if SUBGROUPS
    for (var j = 0u; j < at.subgroups; j++) { sum += parts[j * SUMS + i]; }
//#else
    for (var j = 0u; j < LANES; j++) { sum += parts[j * SUMS + i]; }
//#end
    return sum;
}
