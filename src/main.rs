//! Reads the command line and runs the command.

/// glibc keeps what ten thousand connections once held; this one gives it back within about a second
/// of traffic, at the same cost a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bearward::cli::main()
}
