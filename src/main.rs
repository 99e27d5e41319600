//! Reads the command line and runs the command.

fn main() -> std::process::ExitCode {
    bearward::cli::main()
}
