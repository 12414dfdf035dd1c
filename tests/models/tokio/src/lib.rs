//! Tokio as Shuttle models it, and what we use of it that Shuttle lacks. Its `sleep` is over when it is first polled, so a limit of the crate's `clock::within` passes at once here;
//! one of `time::timeout` when a model says so.

pub use shuttle_tokio::*;

pub mod sync {
    pub use shuttle_tokio::sync::*;

    pub mod mpsc {
        use std::ops::{Deref, DerefMut};

        use shuttle_tokio::sync::mpsc::Receiver as Modelled;
        pub use shuttle_tokio::sync::mpsc::*;

        pub struct Receiver<T>(Modelled<T>);

        pub fn channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = shuttle_tokio::sync::mpsc::channel(bound);
            (sender, Receiver(receiver))
        }

        impl<T> Receiver<T> {
            /// As Tokio's: waits for one, and takes what is there by then.
            pub fn blocking_recv_many(&mut self, buffer: &mut Vec<T>, limit: usize) -> usize {
                let before = buffer.len();
                buffer.extend(self.blocking_recv());
                while buffer.len() > before && buffer.len() - before < limit {
                    let Ok(more) = self.try_recv() else { break };
                    buffer.push(more);
                }
                buffer.len() - before
            }
        }

        impl<T> Deref for Receiver<T> {
            type Target = Modelled<T>;

            fn deref(&self) -> &Modelled<T> {
                &self.0
            }
        }

        impl<T> DerefMut for Receiver<T> {
            fn deref_mut(&mut self) -> &mut Modelled<T> {
                &mut self.0
            }
        }
    }
}
