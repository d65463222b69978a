// elastron-run, the script that started this process.
#pragma once

namespace elastron::launch {

// A descriptor that becomes readable when the script that ELASTRON_RUN_PROCESS names has ended; at
// once, if it has by now. -1 where no script is named, or one of another machine.
int open_starter() noexcept;

}  // namespace elastron::launch
