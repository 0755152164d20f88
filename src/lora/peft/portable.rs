//! A finished adapter in the form that the widest range of PEFT and transformers computes alike.

use std::borrow::Cow;

use crate::config::Target;
use crate::lora::LoraAdapter;
use crate::model::config::ModelConfig;

/// The same function; an adapter that sits on no expert stays as it is.
///
/// transformers 5 holds the experts of a layer in one tensor, and PEFT joins their adapters when it loads them
/// (docs/EXPERTS.md). Then gate and up become one adapter of twice the rank and twice alpha, which is right for
/// `alpha / r` and not for rsLoRA's root; both of them and `down` must be there; and a dropout is refused, of which a
/// finished adapter has no more use. Layers that have to be added get a B of zero.
pub fn portable<'a>(adapter: &'a LoraAdapter, model: &ModelConfig) -> Cow<'a, LoraAdapter> {
    if !adapter.sites.iter().any(|site| site.place.expert.is_some()) {
        return Cow::Borrowed(adapter);
    }
    let mut config = adapter.config.clone();
    config.dropout = 0.0;
    config.alpha = config.scale() * config.rank as f64;
    config.rslora = false;
    let joined = [Target::Gate, Target::Up];
    if joined.iter().any(|target| config.targets.contains(target)) {
        let all = joined.into_iter().chain([Target::Down]);
        let missing: Vec<_> = all.filter(|target| !config.targets.contains(target)).collect();
        config.targets.extend(missing);
        config.targets.sort();
    }
    if config.targets == adapter.config.targets {
        return Cow::Owned(LoraAdapter { config, ..adapter.clone() });
    }
    let mut wider = LoraAdapter::init(config, model, 0);
    let mut own = adapter.sites.iter().peekable();
    for site in &wider.sites {
        let Some(from) = own.next_if(|own| (own.layer, own.place) == (site.layer, site.place))
        else {
            continue;
        };
        let count = adapter.config.rank * (site.input + site.output);
        wider.values[site.offset..site.offset + count]
            .copy_from_slice(&adapter.values[from.offset..from.offset + count]);
    }
    Cow::Owned(wider)
}
