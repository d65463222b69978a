# What is compiled for which GPU, asked of the module itself with a driver's tool that says what the
# case wants: cmake -DMODULE=... -DSCRATCH=... -P gpu_architectures_test.cmake
include(${MODULE})

function(tool path text code)
  file(WRITE ${path} "#!/bin/sh\nprintf '${text}'\nexit ${code}\n")
  file(CHMOD ${path} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endfunction()

# With what nvidia-smi and nvcc's own query print, and their exit codes.
function(expect wanted smi smi_code query query_code)
  file(REMOVE_RECURSE ${SCRATCH})
  tool(${SCRATCH}/bin/nvidia-smi "${smi}" ${smi_code})
  tool(${SCRATCH}/toolkit/__nvcc_device_query "${query}" ${query_code})
  set(ENV{PATH} "${SCRATCH}/bin:/usr/bin:/bin")
  elastron_gpu_architectures(found ${SCRATCH}/toolkit/nvcc)
  if(NOT found STREQUAL wanted)
    message(SEND_ERROR "'${smi}' and '${query}' give '${found}', not '${wanted}'")
  endif()
endfunction()

expect("90a-real" "9.0\\n" 0 "" 1)
expect("90a-real" "9.0\\n9.0\\n9.0\\n" 0 "" 1)
expect("80-real" "8.0\\n" 0 "" 1)
expect("80-real;90a-real" "8.0\\n9.0\\n8.0\\n" 0 "" 1)
expect("100-real" "10.0\\n" 0 "" 1)
expect("120-real;89-real" "12.0\\n8.9\\n" 0 "" 1)
# Too old for the program; alone it is as if there was none.
expect("90a-real" "7.5\\n9.0\\n" 0 "" 1)
expect("90a-real" "7.5\\n" 0 "" 1)
# A tool that does not know the question, or fails: nvcc's query.
expect("90a-real" "[Not Supported]\\n" 0 "90" 0)
expect("80-real;90a-real" "NVIDIA-SMI has failed\\n" 9 "80,90" 0)
expect("100-real" "" 127 "100" 0)
# No GPU.
expect("90a-real" "" 9 "" 1)
