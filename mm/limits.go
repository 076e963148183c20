package mm

// MaxAreas is how many mappings a Space may have (vm.max_map_count): ENOMEM beyond.
const MaxAreas = maxAreas
