//! The suite on the bus of a single process.

mod suite;

use std::sync::Arc;

use tianqiao_bus::Bus;
use tianqiao_bus::in_process::InProcessBus;

struct OneProcess(Arc<dyn Bus>);

impl suite::Fleet for OneProcess {
    async fn join(&self) -> Arc<dyn Bus> {
        self.0.clone()
    }
}

suite::all!(OneProcess(Arc::new(InProcessBus::new())));
