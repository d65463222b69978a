// What kernels compute with where a test may plant a fault (faults.h).
#pragma once

namespace elastron::emulator {

float exp2(float x);
float where_seen(bool seen, float x);

}  // namespace elastron::emulator
