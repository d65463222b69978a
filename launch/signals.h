// Requests to stop. TERM, INT, HUP and USR1 ask for a save and an orderly end; a second one that
// comes two seconds later or more ends the process at once. USR2 asks, too, and never counts as a
// second request: elastron-run repeats it until it is heard. So does the end of elastron-run
// itself, should it be killed.
//
// No handler runs on a thread that computes: the signals are blocked everywhere, and one thread
// takes them. Code that keeps data below the stack pointer would lose it to a handler's frame, and
// oneDNN 2.6's product kernels for AVX2 do that.
#pragma once

namespace elastron::launch {

// Blocks the signals and starts the thread that takes them. Call it first in main: threads inherit
// what is blocked, so no other one may run yet.
void take_stop_signals();

enum class OnStop {
  end,   // a request ends the process at once, with exit code 75; also one that came before
  note,  // a request is only noted, for a command that polls stop_requested() and has what to save
};
// `end` until this was called.
void on_stop_request(OnStop what);

bool stop_requested();

// Gives the calling thread and OpenMP's workers alternate signal stacks. Handlers of others (a
// profiler's) use them if they were installed with SA_ONSTACK; other handlers do not profit.
void give_signal_stacks();

}  // namespace elastron::launch
