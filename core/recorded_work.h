// Work that a device is shown once, and then does again at the price of one call.
#pragma once
#include <functional>
#include <memory>

#include "core/device.h"

namespace elastron {

class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  RecordedWork(const RecordedWork&) = delete;
  RecordedWork& operator=(const RecordedWork&) = delete;
  // Issues all of it, with what then stands in the memory that it reads.
  virtual void run() = 0;

 protected:
  RecordedWork() = default;
};

// What a device also is that can record.
class RecordingDevice {
 public:
  virtual ~RecordingDevice() = default;
  // See record_work().
  virtual std::unique_ptr<RecordedWork> record(const std::function<void()>& issue) = 0;
};

// Does the work that `issue` asks the device for. Returns it, to be done again, or null where the
// device cannot: the work is done in either case. `issue` is called once or twice and asks for the
// same each time; it moves nothing from or to the host and waits for nothing, gives back all memory
// it allocates, and reads and writes only memory that outlives the result. The memory that the work
// needs meanwhile is held, and counted, as long as the result lives.
inline std::unique_ptr<RecordedWork> record_work(Device& device,
                                                 const std::function<void()>& issue) {
  if (auto* recording = dynamic_cast<RecordingDevice*>(&device)) return recording->record(issue);
  issue();
  return nullptr;
}

}  // namespace elastron
