//! Low-rank adapters as the PEFT library publishes them: `adapter_config.json` and safetensors.
//!
//! A tensor is called `base_model.model.model.layers.N.PART.lora_A.weight` (`[rank, in]`) or `...lora_B.weight`
//! (`[out, rank]`), with the adapter's name before `weight` in some files.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde_json::Value;

use super::{Converted, Error, Header, Source, float, number, parse};
use crate::gguf::{Meta, Writer};

const CONFIG: &str = "adapter_config.json";

/// The model that an adapter is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `general.architecture`.
    pub architecture: String,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
}

/// Plans the conversion of an adapter whose tensors have these headers, one for each file.
///
/// # Errors
/// [`Error`]; variants of LoRA that are more than two matrices for each weight are refused by name.
pub fn adapter(config: &str, headers: &[Header], base: &Base) -> Result<Converted, Error> {
    let config: Value = parse(CONFIG, config)?;
    let refuse = |why: String| Err(Error::Json { file: CONFIG, why });
    if config["peft_type"].as_str().is_some_and(|kind| kind != "LORA") {
        return refuse(format!("peft_type is {} and not LORA", config["peft_type"]));
    }
    for key in ["use_dora", "fan_in_fan_out"] {
        if config[key].as_bool() == Some(true) {
            return refuse(format!("{key} cannot be converted"));
        }
    }
    for key in ["rank_pattern", "alpha_pattern"] {
        if config[key].as_object().is_some_and(|map| !map.is_empty()) {
            return refuse(format!("{key} cannot be converted"));
        }
    }
    let rank = number(&config, "r")?;
    let alpha = float(&config, "lora_alpha", rank as f64);
    // Rank-stabilised adapters divide by the root of the rank, a GGUF's reader by the rank.
    let stable = config["use_rslora"].as_bool() == Some(true);
    let alpha = if stable { alpha * libm::sqrtf(rank as f32) } else { alpha };
    let mut out = Converted { writer: Writer::new(), sources: Vec::new() };
    out.writer
        .set("general.type", Meta::Str("adapter".into()))
        .set("adapter.type", Meta::Str("lora".into()))
        .set("general.architecture", Meta::Str(base.architecture.clone()))
        .set("adapter.lora.alpha", Meta::F32(alpha));
    for tensor in headers.iter().flat_map(|header| &header.tensors) {
        let fail = |why| Error::Tensor { name: tensor.name.clone(), why };
        let (target, half, heads) = target(&tensor.name, base).ok_or_else(|| fail("changes nothing that is known"))?;
        let [rows, columns] = tensor.shape[..] else { return Err(fail("is no matrix")) };
        if (if half == "lora_a" { rows } else { columns }) != rank {
            return Err(fail("has another rank than adapter_config.json says"));
        }
        // Rows of B are outputs: those of queries and keys lie in another order in the base model's file.
        let heads = heads.filter(|_| half == "lora_b" && base.architecture == "llama");
        if heads.is_some_and(|heads| heads == 0 || !rows.is_multiple_of(2 * heads)) {
            return Err(fail("has rows that are no pairs of each head"));
        }
        out.writer.tensor(&format!("{target}.{half}"), tensor.kind, &[columns, rows]);
        out.sources.push(Source { tensor: tensor.clone(), kind: tensor.kind, heads });
    }
    if out.sources.is_empty() {
        return Err(Error::Tensors("there are no matrices in it".into()));
    }
    Ok(out)
}

/// The weight that a tensor belongs to, which half of the pair it is, and the heads of its outputs, if these are turned.
fn target(name: &str, base: &Base) -> Option<(String, &'static str, Option<usize>)> {
    let path = name.strip_prefix("base_model.model.").unwrap_or(name).strip_prefix("model.layers.")?;
    let (layer, rest) = path.split_once('.')?;
    let layer: usize = layer.parse().ok().filter(|layer| *layer < 1 << 16)?;
    let (part, half, rest) = match (rest.split_once(".lora_A."), rest.split_once(".lora_B.")) {
        (Some((part, rest)), None) => (part, "lora_a", rest),
        (None, Some((part, rest))) => (part, "lora_b", rest),
        _ => return None,
    };
    rest.ends_with("weight").then_some(())?;
    let (weight, heads) = match part {
        "self_attn.q_proj" => ("attn_q", Some(base.heads)),
        "self_attn.k_proj" => ("attn_k", Some(base.kv_heads)),
        "self_attn.v_proj" => ("attn_v", None),
        "self_attn.o_proj" => ("attn_output", None),
        "mlp.gate_proj" => ("ffn_gate", None),
        "mlp.up_proj" => ("ffn_up", None),
        "mlp.down_proj" => ("ffn_down", None),
        _ => return None,
    };
    Some((["blk.", &layer.to_string(), ".", weight, ".weight"].concat(), half, heads))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base { architecture: "llama".into(), heads: 4, kv_heads: 2 }
    }

    #[test]
    fn names_lead_to_weights() {
        let of = |name| target(name, &base()).map(|(name, half, heads)| format!("{name} {half} {heads:?}"));
        let name = "base_model.model.model.layers.3.self_attn.k_proj.lora_B.default.weight";
        assert_eq!(of(name).as_deref(), Some("blk.3.attn_k.weight lora_b Some(2)"));
        let name = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight";
        assert_eq!(of(name).as_deref(), Some("blk.0.ffn_down.weight lora_a None"));
        assert_eq!(of("base_model.model.lm_head.lora_A.weight"), None);
        assert_eq!(of("base_model.model.model.layers.x.mlp.down_proj.lora_A.weight"), None);
    }

    #[test]
    fn what_is_more_than_two_matrices_is_refused_by_name() {
        for (config, why) in [
            (r#"{"r":8,"use_dora":true}"#, "use_dora"),
            (r#"{"r":8,"rank_pattern":{"q":4}}"#, "rank_pattern"),
            (r#"{"r":8,"peft_type":"IA3"}"#, "IA3"),
            (r#"{}"#, "r is missing"),
        ] {
            let error = adapter(config, &[], &base()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
