// Makes devices behind vfio-user sockets known to what stands below this folder: `VfioDevice.connect`, and `claim` in another
// Worker. Importing it is enough.
import { setConnector } from '../../device/connector.js'
import { deviceKinds } from '../../device/device-kinds.js'
import { spaceKinds } from '../../iommu/space-kinds.js'
import { UserBackend } from './backend.js'
import { connect } from './connect.js'
import { UserSpace } from './space.js'

setConnector(connect)
deviceKinds.set('vfio-user', { native: 'UserChannel', over: (own) => new UserBackend(own) })
spaceKinds.set('vfio-user', { native: 'UserSpace', over: (own) => new UserSpace(own) })
