// Limits of the process (ulimit), so that one that is met becomes an error line.
#pragma once

namespace elastron::launch {

// A write beyond the allowed file size fails from now on instead of ending the process. As many
// files may be open as the hard limit gives. Throws UsageError where those are too few for MPI,
// which would end the process with a page of its own. Call it in main.
void prepare_limits();

}  // namespace elastron::launch
