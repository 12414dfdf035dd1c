pub mod _entities;
pub mod directory;
pub mod users;
