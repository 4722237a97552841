//! The GPU that tests run on: the one that `TUTU_GPU` names, else Mesa's lavapipe, else the best there is.

use std::sync::{Arc, OnceLock};

use tutu_gpu::{Device, Wanted, adapters, choose};

/// A device that all tests share; `None`, and a line that says so, where no driver is installed.
pub fn device() -> Option<Arc<Device>> {
    static DEVICE: OnceLock<Option<Arc<Device>>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        let adapter = match std::env::var("TUTU_GPU") {
            Ok(name) => {
                choose(adapters(), &Wanted::parse(&name)).unwrap_or_else(|names| panic!("no {name} among {names:?}"))
            }
            Err(_) => choose(adapters(), &Wanted::parse("lavapipe"))
                .unwrap_or_else(|_| choose(adapters(), &Wanted::Auto).expect("nothing must be there")),
        };
        adapter.map(|adapter| {
            eprintln!("on {}", adapter.info);
            Device::open(&adapter, None).expect("a driver that offers a GPU opens it")
        })
    });
    if device.is_none() {
        eprintln!("skipped: this machine has no Vulkan, Metal or DX12 driver (Debian: mesa-vulkan-drivers)");
    }
    device.clone()
}
