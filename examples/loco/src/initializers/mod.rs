pub mod gatekeeper;
