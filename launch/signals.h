// TERM, INT and USR1 ask for a save and an orderly end; a second one ends the process at once.
#pragma once

namespace elastron::launch {

// Installs the handlers (process-wide; call once from main).
void install_stop_signals();

// Whether a stop was asked for. Async-signal-safe to set, cheap to poll.
bool stop_requested();

}  // namespace elastron::launch
